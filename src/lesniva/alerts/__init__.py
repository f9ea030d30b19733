"""Changed pixels become alerts: polygons with dates, area, cause, and an identity that lasts.

- `polygons`: changed pixels of all blocks → polygons;
- `identity`: the ids they had in the last run, and what became of each;
- `units`: whose ground they lie on;
- `verdicts`: what reviewers say of them; `past`: those that are over;
- `summary`: all of them counted by week and unit;
- `spectra`: what they looked like before and after; `cause`: why the canopy went.
"""

from lesniva.alerts.cause import CAUSES, Hints, attribute, features
from lesniva.alerts.identity import Identified, identify
from lesniva.alerts.past import OUTCOMES, past
from lesniva.alerts.polygons import FINDINGS, OPEN, alerts, changed_pixels, connect
from lesniva.alerts.spectra import BANDS, days_to_read, labels, means, sums
from lesniva.alerts.summary import summary
from lesniva.alerts.units import with_district, with_permit, with_unit
from lesniva.alerts.verdicts import VERDICTS, Review, dated, doubted, review, reviewed
from lesniva.alerts.verdicts import events as review_events
from lesniva.alerts.verdicts import table as review_table

__all__ = [
    "BANDS",
    "CAUSES",
    "FINDINGS",
    "OPEN",
    "OUTCOMES",
    "VERDICTS",
    "Hints",
    "Identified",
    "Review",
    "alerts",
    "attribute",
    "changed_pixels",
    "connect",
    "dated",
    "days_to_read",
    "doubted",
    "features",
    "identify",
    "labels",
    "means",
    "past",
    "review",
    "review_events",
    "review_table",
    "reviewed",
    "summary",
    "sums",
    "with_district",
    "with_permit",
    "with_unit",
]
