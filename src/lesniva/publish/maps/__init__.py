"""Pictures of the results, for people who look at maps and charts before tables.

Drawn with matplotlib's objects and its Agg renderer: no window, no global figure, fonts that come
with matplotlib (Cyrillic included), and the same bytes for the same results.

- `forest`: alerts over the NDVI of an area; `harvest`: the forecast of each crop by district;
  `season`: a crop from one day of issue to the next;
- `ground`: what both maps stand on; `page`: the sheet and its file; `words`: in two languages.
"""

from lesniva.publish.maps.forest import forest_map
from lesniva.publish.maps.harvest import harvest_map
from lesniva.publish.maps.season import season_chart

__all__ = ["forest_map", "harvest_map", "season_chart"]
