"""The tidy table: reading, checking, flagging, writing."""

from pathlib import Path

import numpy as np
import pandas as pd

from lesniva.errors import InputError
from lesniva.storage import whole_file
from lesniva.yields.crops import crop_code

COLUMNS = ("adm_id", "crop", "year", "yield_t_ha", "area_ha", "weight_basis")

WEIGHT_BASES = ("bunker", "after_processing", "unknown")
"""Weighed as it came from the field, after cleaning and drying, or not said."""

MAX_T_HA = {"sugar_beet": 150.0, "fodder_beet": 150.0, "potatoes": 100.0, "maize_silage": 120.0}
"""More than this is a fault of units; of all other crops `MAX_GRAIN_T_HA`."""

MAX_GRAIN_T_HA = 20.0
RUN_YEARS = 5
"""So many equal or exactly linear values in a row were not measured."""

OUTLIER_SD = 3.0


def read(path: Path) -> pd.DataFrame:
    """Read a tidy file of yields and check it.

    Parameters
    ----------
    path
        CSV (UTF-8 or CP1251; comma, semicolon or tab; decimal point or comma) or Parquet with
        ``adm_id, crop, year, yield_t_ha`` and optionally ``area_ha``, ``weight_basis``. Crops may
        have Russian names.

    Returns
    -------
    DataFrame
        Sorted by ``adm_id, crop, year`` with the columns of `COLUMNS`; yields and areas float64,
        NaN = not known.

    Raises
    ------
    InputError
        The file cannot be read or is wrong; all faults in one message, with line numbers.
    """
    raw = _raw(path)
    absent = [name for name in COLUMNS[:4] if name not in raw]
    if absent:
        raise InputError(
            f"{path}: columns {', '.join(absent)} are missing; it has"
            f" {', '.join(map(str, raw.columns))}; Rosstat tables go through the import"
        )
    faults: list[str] = []
    table = pd.DataFrame({"adm_id": raw["adm_id"].fillna("").astype(str).str.strip()})
    table["crop"] = [crop_code(str(name)) or str(name).strip() for name in raw["crop"]]
    for name in ("year", "yield_t_ha", "area_ha"):
        table[name] = _numbers(raw, name, faults)
    basis = raw["weight_basis"] if "weight_basis" in raw else pd.Series("", index=raw.index)
    table["weight_basis"] = basis.fillna("").astype(str).str.strip().replace("", "unknown")
    faults += _faults(table)
    if faults:
        raise InputError(f"{path}: {'; '.join(faults)}; correct the file")
    table["year"] = table["year"].astype(np.int64)
    return table.sort_values(["adm_id", "crop", "year"], ignore_index=True)


def write(yields: pd.DataFrame, path: Path) -> None:
    """Write a table of yields as CSV or, by suffix, Parquet; whole or not at all."""
    with whole_file(path) as temporary:
        if path.suffix == ".parquet":
            yields.to_parquet(temporary, index=False)
        else:
            yields.to_csv(temporary, index=False)


def flag(yields: pd.DataFrame) -> pd.DataFrame:
    """Mark doubtful values; nothing is dropped.

    Parameters
    ----------
    yields
        Columns ``adm_id, crop, year, yield_t_ha`` and optionally ``area_ha``.

    Returns
    -------
    DataFrame
        The same rows with ``flags``, words joined by spaces: ``not_positive``; ``equal_run`` and
        ``linear_run`` (five or more years equal or on one line: copied, not measured); ``high``
        (above the trend of the other years by three of their standard deviations; low values are
        droughts and carry no flag); ``area_jump`` (the area changes by more than three standard
        deviations of its other changes).
    """
    result = yields.sort_values(["adm_id", "crop", "year"], ignore_index=True)
    marks = pd.Series([[] for _ in range(len(result))], index=result.index)
    for _key, rows in result.groupby(["adm_id", "crop"], sort=False):
        for word, places in _series_flags(rows).items():
            for place in places:
                marks[place].append(word)
    return result.assign(flags=[" ".join(words) for words in marks])


def _series_flags(rows: pd.DataFrame) -> dict[str, list[int]]:
    value = rows["yield_t_ha"].to_numpy(dtype=np.float64)
    year = rows["year"].to_numpy(dtype=np.float64)
    index = rows.index.to_numpy()
    equal, linear = _runs(value, year)
    marks = {
        "not_positive": value <= 0,
        "equal_run": equal,
        "linear_run": linear & ~equal,
        "high": _deviates(value, year),
    }
    if "area_ha" in rows:
        area = rows["area_ha"].to_numpy(dtype=np.float64)
        change = np.diff(np.log(np.where(area > 0, area, np.nan)), prepend=np.nan)
        marks["area_jump"] = _deviates(np.abs(change), np.zeros(len(change)))
    return {word: [int(i) for i in index[mark]] for word, mark in marks.items()}


def _runs(value: np.ndarray, year: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Members of runs of equal values and of runs on one line, of consecutive years."""
    step = np.diff(value)
    step[np.diff(year) != 1] = np.nan
    equal = _long_runs(np.isclose(step, 0, atol=1e-9), len(value))
    linear = _long_runs(np.isclose(np.diff(step), 0, atol=1e-9), len(value))
    return equal, linear


def _long_runs(same: np.ndarray, length: int) -> np.ndarray:
    """Expand runs of True in differences of `length` values to the values they are made of."""
    marked = np.zeros(length, dtype=bool)
    lag = length - len(same)
    start = 0
    for end in range(len(same) + 1):
        if end == len(same) or not same[end]:
            if end - start + lag >= RUN_YEARS:
                marked[start : end + lag] = True
            start = end + 1
    return marked


def _deviates(value: np.ndarray, year: np.ndarray) -> np.ndarray:
    """Where a value is above the line of all others by three standard deviations of theirs."""
    marked = np.zeros(len(value), dtype=bool)
    known = np.isfinite(value)
    if known.sum() <= RUN_YEARS:
        return marked
    degree = 1 if np.ptp(year[known]) > 0 else 0
    for place in np.flatnonzero(known):
        others = known.copy()
        others[place] = False
        line = np.polyfit(year[others] - year[place], value[others], degree)
        rest = value[others] - np.polyval(line, year[others] - year[place])
        spread = np.sqrt((rest**2).sum() / max(others.sum() - degree - 1, 1))
        # The line itself is uncertain where the place lies: the variance of a prediction.
        design = np.vander(year[others] - year[place], degree + 1)
        unsure = np.linalg.inv(design.T @ design)[-1, -1]
        # A perfectly regular past has no spread; a tenth of the level is then unusual.
        limit = max(OUTLIER_SD * spread * np.sqrt(1 + unsure), 0.1 * abs(float(line[-1])))
        marked[place] = value[place] - line[-1] > limit
    return marked


def text_of(path: Path) -> str:
    """Text of a table file, UTF-8 (with or without mark) or CP1251."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path} is neither UTF-8 nor CP1251 text; save it as CSV in UTF-8")


def delimiter_of(text: str) -> str:
    """Find the separator of a table; a comma only where nothing else separates.

    A comma may also be the decimal mark, and then there are more of them than of separators.
    """
    return next((mark for mark in "\t;|" if mark in text), ",")


def number(cell: str) -> float | None:
    """Read a number with a decimal point or comma, spaces within; None when it is none."""
    plain = cell.strip().replace("\u00a0", "").replace("\u202f", "").replace(" ", "")
    try:
        return float(plain.replace(",", "."))
    except ValueError:
        return None


def _raw(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is not a Parquet file that can be read: {error}") from error
    import io

    text = text_of(path)
    if not text.strip():
        raise InputError(f"{path} is empty")
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=delimiter_of(text.splitlines()[0]),
            dtype=str,
            keep_default_na=False,
        )
    except pd.errors.ParserError as error:
        raise InputError(f"{path} is not a table: {error}") from error


def _numbers(raw: pd.DataFrame, name: str, faults: list[str]) -> pd.Series:
    if name not in raw:
        return pd.Series(np.nan, index=raw.index)
    if pd.api.types.is_numeric_dtype(raw[name]):
        return raw[name].astype(np.float64)
    cells = raw[name].fillna("").astype(str)
    values = [number(cell) for cell in cells]
    wrong = [
        line
        for line, (cell, value) in enumerate(zip(cells, values, strict=True), start=2)
        if value is None and cell.strip()
    ]
    if wrong:
        faults.append(f"{name} is no number in {_lines(wrong)} ({cells.iloc[wrong[0] - 2]!r})")
    return pd.Series([np.nan if value is None else value for value in values], index=raw.index)


def _faults(table: pd.DataFrame) -> list[str]:
    limit = table["crop"].map(MAX_T_HA).fillna(MAX_GRAIN_T_HA)
    year = table["year"]
    wrong = {
        "adm_id is empty": table["adm_id"] == "",
        "crop is empty": table["crop"] == "",
        "year is not a harvest year 1950-2100": ~(year.between(1950, 2100) & (year % 1 == 0)),
        "yield is negative": table["yield_t_ha"] < 0,
        "yield is too high for t/ha (c/ha?)": table["yield_t_ha"] > limit,
        "area is negative": table["area_ha"] < 0,
        f"weight_basis is none of {', '.join(WEIGHT_BASES)}": ~table["weight_basis"].isin(
            WEIGHT_BASES
        ),
        "district, crop and year occur before": table.duplicated(["adm_id", "crop", "year"]),
    }
    return [
        f"{fault} in {_lines([int(i) + 2 for i in np.flatnonzero(mark)])}"
        for fault, mark in wrong.items()
        if mark.any()
    ]


def _lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
