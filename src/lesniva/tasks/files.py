"""Results of tasks on disk, and their names."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.storage import whole_file


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    with whole_file(path) as temporary:
        np.save(temporary, array)


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, whole or not at all."""
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def digest(*parts: Any) -> str:
    """Fingerprint of what a result depends on, short enough to name the result's file."""
    text = json.dumps(parts, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
