"""Composites of a stack of COGs, beside plain reads and odc-stac with xarray."""

from concurrent.futures import ThreadPoolExecutor

import cogs
import numpy as np
import pytest
from timing import timed

from lesniva import composites, cube, indices, masks

BLOCK = 1024


@pytest.fixture(scope="module")
def blocks(cog_stack):
    height, width = cog_stack.geobox.shape
    return [
        cog_stack.geobox[row : row + BLOCK, col : col + BLOCK]
        for row in range(0, height, BLOCK)
        for col in range(0, width, BLOCK)
    ]


def ndvi_stack(days, geobox):
    """Clear NDVI of all days, as a task reads it."""
    stack = np.empty((len(days), *geobox.shape), dtype=np.int16)
    for place, day in enumerate(days):
        bands = cube.read_day(day, geobox, ("red", "nir", "scl"))
        indices.scaled("ndvi", bands, masks.clear(bands["scl"]), stack[place])
    return stack


def composite_all(cog_stack, blocks, period):
    labels = np.array(composites.periods([day.date for day in cog_stack.days], period))

    def one(geobox):
        stack = ndvi_stack(cog_stack.days, geobox)
        return [
            composites.composite(stack, np.flatnonzero(labels == label))
            for label in np.unique(labels)
        ]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, blocks))


def floors(cog_stack):
    """Reads of the same windows, and of whole files: a file is opened once a block, or once."""
    return {
        "floor: GDAL reads of the same windows": timed(cogs.plain_windows(cog_stack, BLOCK)),
        "GDAL reads of whole files": timed(cogs.plain_reads(cog_stack)),
    }


def rivals(cog_stack, peer, work):
    box = cog_stack.geobox.boundingbox
    asked = {
        "items": cog_stack.items,
        "bbox": [box.left, box.bottom, box.right, box.top],
        "crs": "EPSG:32637",
        "resolution": 10,
    }
    return {**floors(cog_stack), "odc-stac + xarray": peer(work, **asked)}


def test_median_of_the_stack(beside, cog_stack, blocks, peer):
    beside(
        "median NDVI of 18 scenes of 20 × 20 km, 10 m",
        lambda: composite_all(cog_stack, blocks, "all"),
        rivals(cog_stack, peer, "odc_median"),
        rounds=3,
        target="≥ 0.6 × floor",
    )


def test_dekadal_composites_of_the_stack(beside, cog_stack, blocks):
    beside(
        "dekadal median NDVI of the same",
        lambda: composite_all(cog_stack, blocks, "dekad"),
        floors(cog_stack),
        rounds=3,
        target="≥ 0.6 × floor",
    )
