"""One layer of a whole area over several times as NetCDF-4, by the CF conventions 1.11.

Written block by block and chunked by time and tile, so that neither the writer nor the reader of
one map needs memory for all. The same slices give the same bytes.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lesniva.errors import EnvironmentFaultError
from lesniva.publish.layers import Layer
from lesniva.storage import whole_file

if TYPE_CHECKING:
    from netCDF4 import Dataset
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

Slice = tuple[int, int, int, npt.NDArray[Any]]
"""Place in the times, row and column of the upper left pixel in the whole grid, and the pixels."""

CHUNK = 256
"""Pixels along the edge of a chunk: one read of a map, or of the series of a pixel, stays small."""

EPOCH = dt.date(1970, 1, 1)

STANDARD_NAMES = {"ndvi": "normalized_difference_vegetation_index"}
"""Layer → name in the CF standard name table."""


def write_netcdf(
    path: Path,
    layer: Layer,
    geobox: "GeoBox",
    slices: Iterable[Slice],
    *,
    times: Sequence[tuple[dt.date, dt.date]],
    title: str,
    attribution: str,
) -> None:
    """Write one layer over several times.

    Parameters
    ----------
    path
        Final name, ``.nc``. It appears when the file is whole.
    layer
        A quantity (`lesniva.publish.layers`); its scale, offset and missing value are kept.
    geobox
        Grid of the whole area, projected, north up.
    slices
        ``(place in times, row, column, pixels)`` in any order, pixels 2-D in the dtype of the
        layer. Where no block is, the file is missing.
    times
        First and last day of each slice, rising.
    title
        What the file shows.
    attribution
        Credit, or the notice that the data is synthetic.

    Raises
    ------
    ValueError
        There are no times, the grid has no projected CRS, or a block is of another dtype.
    EnvironmentFaultError
        The disk is full or cannot be written; an earlier file of that name is then untouched.
    """
    from netCDF4 import Dataset

    if not times:
        raise ValueError(f"{path.name} got no times; give at least one period")
    crs = geobox.crs
    if crs is None or not crs.projected:
        raise ValueError(f"{path.name} needs a projected grid; give the geobox such a CRS")
    try:
        with whole_file(path) as temporary, Dataset(temporary, "w", format="NETCDF4") as file:
            file.setncatts(
                {
                    "Conventions": "CF-1.11",
                    "title": title,
                    "institution": "made with Lesniva",
                    "source": attribution,
                    "history": f"lesniva {version('lesniva')}",
                    "references": "docs/outputs.md of Lesniva",
                    "comment": layer.description,
                }
            )
            _write_times(file, times)
            _write_grid(file, geobox, crs)
            variable = _variable(file, layer)
            for place, row, column, pixels in slices:
                if pixels.dtype != layer.dtype:
                    raise ValueError(
                        f"a block of {layer.name} is {pixels.dtype}, not {layer.dtype}"
                    )
                height, width = pixels.shape
                variable[place, row : row + height, column : column + width] = pixels
    except RuntimeError as error:  # what the HDF5 library refuses
        raise EnvironmentFaultError(
            f"cannot write {path}: {error}; free some space or choose another folder"
        ) from error


def _write_times(file: "Dataset", times: Sequence[tuple[dt.date, dt.date]]) -> None:
    file.createDimension("time", len(times))
    file.createDimension("bounds", 2)
    # CF wants the end of a period as an instant: the midnight after its last day.
    bounds = [((first - EPOCH).days, (last - EPOCH).days + 1) for first, last in times]
    time = file.createVariable("time", "f8", ("time",))
    time.setncatts(
        {
            "standard_name": "time",
            "long_name": "middle of the period",
            "units": f"days since {EPOCH}",
            "calendar": "standard",
            "units_metadata": "leap_seconds: none",
            "axis": "T",
            "bounds": "time_bounds",
        }
    )
    time[:] = np.mean(bounds, axis=1)
    file.createVariable("time_bounds", "f8", ("time", "bounds"))[:] = bounds


def _write_grid(file: "Dataset", geobox: "GeoBox", crs: "CRS") -> None:
    affine = geobox.affine
    for name, start, step in (("y", affine.f, affine.e), ("x", affine.c, affine.a)):
        size = geobox.shape[name == "x"]
        file.createDimension(name, size)
        axis = file.createVariable(name, "f8", (name,))
        axis.setncatts(
            {
                "standard_name": f"projection_{name}_coordinate",
                "long_name": f"{name} of the middle of the pixel",
                "units": "m",
                "axis": name.upper(),
            }
        )
        axis[:] = start + step * (np.arange(size) + 0.5)
    mapping = file.createVariable("crs", "i4", ())
    mapping.setncatts(crs.proj.to_cf())
    # GDAL's own place for it, read by every version of QGIS.
    mapping.setncatts(
        {
            "spatial_ref": crs.to_wkt(),
            "GeoTransform": " ".join(f"{number:.12g}" for number in affine.to_gdal()),
        }
    )


def _variable(file: "Dataset", layer: Layer) -> Any:
    sizes = [file.dimensions[name].size for name in ("y", "x")]
    variable = file.createVariable(
        layer.name,
        layer.dtype,
        ("time", "y", "x"),
        compression="zlib",
        complevel=4,
        shuffle=True,
        chunksizes=(1, *(min(CHUNK, size) for size in sizes)),
        fill_value=np.array(layer.nodata, layer.dtype),
    )
    known = STANDARD_NAMES.get(layer.name)
    variable.setncatts(
        {
            **({"standard_name": known} if known else {}),
            "long_name": layer.title_en,
            "units": layer.unit or "1",
            "grid_mapping": "crs",
        }
    )
    if (layer.scale, layer.offset) != (1.0, 0.0):
        variable.setncatts({"scale_factor": layer.scale, "add_offset": layer.offset})
    # The pixels are numbers of the file already.
    variable.set_auto_maskandscale(False)
    return variable
