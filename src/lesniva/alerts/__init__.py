"""Changed pixels become alerts: polygons with dates, area, cause, and an identity that lasts.

- `polygons`: changed pixels of all blocks → polygons;
- `identity`: the ids they had in the last run, and what became of each;
- `units`: whose ground they lie on;
- `spectra`: what they looked like before and after; `cause`: why the canopy went.
"""

from lesniva.alerts.cause import CAUSES, Hints, attribute, features
from lesniva.alerts.identity import Identified, identify
from lesniva.alerts.polygons import FINDINGS, alerts, changed_pixels, connect
from lesniva.alerts.spectra import BANDS, days_to_read, labels, means, sums
from lesniva.alerts.units import with_district, with_permit, with_unit

__all__ = [
    "BANDS",
    "CAUSES",
    "FINDINGS",
    "Hints",
    "Identified",
    "alerts",
    "attribute",
    "changed_pixels",
    "connect",
    "days_to_read",
    "features",
    "identify",
    "labels",
    "means",
    "sums",
    "with_district",
    "with_permit",
    "with_unit",
]
