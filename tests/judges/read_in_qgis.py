"""Open files in QGIS as a person does, and say as JSON what QGIS made of them.

Run by the Python of PyQGIS: ``read_in_qgis.py X Y FILE …``, with the place (in the CRS of the
rasters) whose value is asked for. A layer of a GeoPackage is ``FILE|layername=NAME``.
"""

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsGraduatedSymbolRenderer,
    QgsPalettedRasterRenderer,
    QgsPointXY,
    QgsRaster,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)

RASTERS = (".tif", ".nc")


def main():
    x, y, *files = sys.argv[1:]
    application = QgsApplication([], False)
    application.initQgis()
    place = QgsPointXY(float(x), float(y))
    said = {
        name: raster(name, place)
        if name.split(":")[0].endswith(RASTERS) or ".nc" in name
        else vector(name)
        for name in files
    }
    print(json.dumps(said))  # noqa: T201 that is what it is for
    application.exitQgis()


def raster(name, place):
    layer = QgsRasterLayer(name, "layer")
    if not layer.isValid():
        return {"valid": False}
    provider, renderer = layer.dataProvider(), layer.renderer()
    found = provider.identify(place, QgsRaster.IdentifyFormatValue).results()
    legend = {}
    if isinstance(renderer, QgsPalettedRasterRenderer):
        legend = {each.label: each.value for each in renderer.classes()}
    elif isinstance(renderer, QgsSingleBandPseudoColorRenderer):
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        legend = {each.label: each.value for each in items}
    return {
        "valid": True,
        "crs": layer.crs().authid(),
        "renderer": type(renderer).__name__,
        "legend": legend,
        "bands": layer.bandCount(),
        "band": layer.bandName(1),
        "value": found.get(1),
        "missing": provider.sourceNoDataValue(1),
    }


def vector(name):
    layer = QgsVectorLayer(name, "layer", "ogr")
    if not layer.isValid():
        return {"valid": False}
    renderer = layer.renderer()
    legend = {}
    if isinstance(renderer, QgsCategorizedSymbolRenderer):
        legend = {each.label(): each.value() for each in renderer.categories()}
    elif isinstance(renderer, QgsGraduatedSymbolRenderer):
        legend = {each.label(): each.lowerValue() for each in renderer.ranges()}
    fields = layer.fields()
    return {
        "valid": True,
        "crs": layer.crs().authid(),
        "features": layer.featureCount(),
        "renderer": type(renderer).__name__ if renderer else None,
        "legend": legend,
        "aliases": {each.name(): each.alias() for each in fields},
        "types": {each.name(): each.typeName() for each in fields},
        "shapes_are_valid": all(
            each.geometry().isGeosValid() for each in layer.getFeatures() if each.hasGeometry()
        ),
    }


main()
