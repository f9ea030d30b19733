"""The report page of a run: one self-contained file that opens anywhere, offline.

- `forest`, `harvest`: what the page of a journey is told, as plain values;
- `about`: what every page is told of its run;
- `pictures`: rasters and cut-outs of scenes as images inside the page;
- `outlines`: polygons in few numbers;
- `words`: what the page says, in English and Russian;
- `page`: the file itself, from template, styles, scripts and values.

``assets/`` has the page's own style and scripts, ``vendor/`` two small libraries: Leaflet for the
map, uPlot for the charts.
"""

from lesniva.publish.report.about import About
from lesniva.publish.report.forest import CloseUp, write_forest_report
from lesniva.publish.report.harvest import write_harvest_report

__all__ = ["About", "CloseUp", "write_forest_report", "write_harvest_report"]
