"""Outlines from one projection to another."""

from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

DEGREES = 4326
"""EPSG code of WGS 84; longitude comes first here, whatever the code says."""


def project(
    outline: BaseGeometry, source: Any, target: Any, *, step: float | None = None
) -> BaseGeometry:
    """Bring an outline from one projection into another.

    Parameters
    ----------
    outline
        In `source`; x or longitude first.
    source, target
        Anything pyproj takes for a CRS.
    step
        Longest edge that is taken as straight, in units of `source`: longer ones get vertices in
        between, as they bend on the way.
    """
    transformer = Transformer.from_crs(source, target, always_xy=True)
    dense = outline if step is None else shapely.segmentize(outline, step)

    def points(xy: Any) -> Any:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    projected: BaseGeometry = shapely.transform(dense, points)
    return projected
