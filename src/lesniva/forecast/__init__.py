"""From feature and yield tables to a forecast one may believe.

`hindcast` says what would have been forecast in past years and how good that was, `fit` makes
the model of the year from it, `predict` applies it; `explain` and `analogues` give reasons,
`aggregate` adds districts up, `save` and `load` keep a model, `record` keeps what was said.
"""

from lesniva.forecast.aggregate import aggregate
from lesniva.forecast.current import Model, fit, predict
from lesniva.forecast.explain import analogues, explain
from lesniva.forecast.files import load, save
from lesniva.forecast.hindcast import Hindcast, hindcast
from lesniva.forecast.history import record

__all__ = [
    "Hindcast",
    "Model",
    "aggregate",
    "analogues",
    "explain",
    "fit",
    "hindcast",
    "load",
    "predict",
    "record",
    "save",
]
