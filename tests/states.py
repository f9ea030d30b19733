"""Monitor states that tell their version in every pixel, for runs that are killed or meet."""

import numpy as np
import xarray as xr

from lesniva import ledger
from lesniva.ledger import Ledger, Seen

IDENTITY = {"grid": {"resolution": 20.0, "clip": (38.0, 52.0)}, "index": "nbr", "cover": None}

BLOCKS = ("utm37n/0001_0001", "utm37n/0001_0002", "utm38n/0001_0001")


def state(version: int) -> xr.Dataset:
    """State that tells its version in every pixel and in its attributes."""
    plane = np.full((4, 5), version, dtype=np.int16)
    return xr.Dataset({"evidence": (("y", "x"), plane)}, attrs={"last_day": version})


def seen(version: int) -> Seen:
    scenes = frozenset(f"scene-{number}" for number in range(version + 1))
    return Seen(scenes, np.datetime64("2023-01-01") + np.timedelta64(version, "D"))


def write(book: Ledger, version: int, *keys: str) -> None:
    for key in keys or BLOCKS:
        ledger.write_block(book, key, state(version), seen=seen(version))
