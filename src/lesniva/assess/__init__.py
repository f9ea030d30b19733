"""How right the alerts are: a sample to interpret, and what it says.

- `design`: how many units in which stratum, and where;
- `estimate`: accuracies and areas with confidence intervals;
- `timeliness`: how soon changes were told.

Pure functions; files are read and written by `lesniva.pipeline.assessing`.
"""

from lesniva.assess.design import allocate, draw, sample_size
from lesniva.assess.estimate import Accuracy, accuracy
from lesniva.assess.timeliness import by_size, curve, delays

__all__ = [
    "Accuracy",
    "accuracy",
    "allocate",
    "by_size",
    "curve",
    "delays",
    "draw",
    "sample_size",
]
