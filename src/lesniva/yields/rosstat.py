"""Tables of Rosstat as people have them → the tidy table.

Three shapes are known, told apart by their contents:

- *regions × years*: ``Регион, 2000, 2001, …``, one crop a file, often in its name;
- *long*: one row a district and year (``raion`` or ``район``, ``year`` or ``год``, ``productive``
  or ``урожайность``);
- *municipal text*: the export of the municipal database: blocks under the name of a municipality,
  years in columns, crops in rows, several indicators one below the other.

Yields are in c/ha (ц/га) unless said otherwise, with decimal commas; 999999999 and dashes mean
missing.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lesniva.errors import InputError
from lesniva.yields.crops import crop_code
from lesniva.yields.tidy import COLUMNS, WEIGHT_BASES, delimiter_of, number, text_of

Match = Callable[[str], str | None] | Mapping[str, str]

C_HA_TO_T_HA = 0.1
MISSING = 999_999_999.0

YIELD = "урожайность"
ALL_FARMS = "хозяйства всех категорий"

_YEAR = re.compile(r"(?:19|20)\d\d(?:\s*г(?:од|\.)?)?")
_AGGREGATE = re.compile(
    r"федеральный округ|российская федерация|^всего|^итого|муниципальные (?:районы|округа)|"
    r"городские округа",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"район|округ|город|область|край|республика|поселени|сельсовет|\bг\.", re.IGNORECASE
)
_INDICATOR = re.compile(
    r"урожайность|площад|сбор|внесен|поголовь|продукци|надой|производств", re.IGNORECASE
)
_FARMS = re.compile(r"хозяйств|организаци|предпринимател", re.IGNORECASE)
_BASES = (
    ("after_processing", re.compile(r"после\s+доработки", re.IGNORECASE)),
    ("bunker", re.compile(r"бункерн|первоначально\s+оприходован", re.IGNORECASE)),
)
_NAME_COLUMNS = ("raion", "район", "регион", "region", "муниципальное образование", "субъект")
_YEAR_COLUMNS = ("year", "год")
_VALUE_COLUMNS = ("productive", "урожайность", "yield_c_ha", "yield_t_ha")
_REGION_COLUMNS = ("oblast", "область")


@dataclass(frozen=True)
class Imported:
    """A tidy table and the story of how it came about."""

    yields: pd.DataFrame
    """``adm_id, crop, year, yield_t_ha, area_ha, weight_basis``."""
    report: pd.DataFrame
    """One row a name and crop of the source: ``source_name, source_crop, adm_id, crop, years,
    missing, outcome`` (matched or dropped) and ``reason``."""


@dataclass(frozen=True)
class _Value:
    name: str
    crop: str
    year: int
    value: float | None
    farms: str = ALL_FARMS


def import_table(
    path: Path,
    *,
    match: Match,
    crop: str | None = None,
    region: str | None = None,
    unit: str = "c/ha",
    weight_basis: str | None = None,
) -> Imported:
    """Turn a table of Rosstat into a tidy one.

    Parameters
    ----------
    path
        The file, UTF-8 or CP1251.
    match
        Area id of a name, or None when there is none: a function or a mapping of names.
    crop
        The crop of a table that does not name it; by default taken from the file name.
    region
        Of a long table of several oblasts, the one to take.
    unit
        ``c/ha`` or ``t/ha``.
    weight_basis
        ``bunker``, ``after_processing`` or ``unknown``; by default what the text says.

    Returns
    -------
    Imported

    Raises
    ------
    InputError
        The file is none of the known shapes, its crop is not known, or nothing in it matched.
    """
    if unit not in ("c/ha", "t/ha"):
        raise InputError(f"unit {unit!r} was asked for; c/ha and t/ha are known")
    text = text_of(path)
    basis = weight_basis or _basis(text)
    if basis not in WEIGHT_BASES:
        raise InputError(f"weight basis {basis!r} is none of {', '.join(WEIGHT_BASES)}")
    values = _values(path, text, crop, region)
    scale = C_HA_TO_T_HA if unit == "c/ha" else 1.0
    return _matched(path, values, match, scale, basis)


def _values(path: Path, text: str, crop: str | None, region: str | None) -> list[_Value]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty")
    rows = list(csv.reader(lines, delimiter=delimiter_of(text)))
    head = [cell.strip().lower() for cell in rows[0]]
    if _column(head, _NAME_COLUMNS) is not None and _column(head, _YEAR_COLUMNS) is not None:
        values = _long(path, rows, head, _crop_of(path, crop), region)
    elif _is_wide(rows):
        values = _wide(rows, _crop_of(path, crop))
    else:
        values = _municipal(rows)
    if not values:
        raise InputError(
            f"{path}: no yields found; expected regions × years, a row for each district and year,"
            f" or blocks of a municipality with the indicator «{YIELD.capitalize()} …»"
        )
    return values


def _crop_of(path: Path, crop: str | None) -> str:
    code = crop_code(crop if crop is not None else path.stem.replace("_", " "))
    if code is None:
        said = crop if crop is not None else path.stem
        raise InputError(f"{path}: crop {said!r} is not known; name it, such as winter_wheat")
    return code


def _is_wide(rows: list[list[str]]) -> bool:
    head = [cell.strip() for cell in rows[0][1:] if cell.strip()]
    named = all(_YEAR.fullmatch(cell) for cell in head) and bool(head)
    return named and not any(YIELD in row[0].lower() for row in rows if row)


def _wide(rows: list[list[str]], crop: str) -> list[_Value]:
    years = _years(rows[0])
    return [
        _Value(row[0].strip(), crop, year, _value(row[place]))
        for row in rows[1:]
        if row and row[0].strip()
        for place, year in years.items()
        if place < len(row)
    ]


def _long(
    path: Path, rows: list[list[str]], head: list[str], crop: str, region: str | None
) -> list[_Value]:
    name, year = _column(head, _NAME_COLUMNS), _column(head, _YEAR_COLUMNS)
    value, oblast = _column(head, _VALUE_COLUMNS), _column(head, _REGION_COLUMNS)
    if name is None or year is None or value is None:
        raise InputError(f"{path}: none of the columns {', '.join(_VALUE_COLUMNS)} is there")
    body = [row for row in rows[1:] if len(row) == len(head)]
    if oblast is not None:
        regions = sorted({row[oblast].strip() for row in body})
        if region is None and len(regions) > 1:
            raise InputError(f"{path} has the regions {', '.join(regions)}; choose one")
        if region is not None and region not in regions:
            raise InputError(f"{path}: region {region!r} is none of {', '.join(regions)}")
        body = [row for row in body if region is None or row[oblast].strip() == region]
    found = []
    for row in body:
        when = number(row[year])
        if when is not None:
            found.append(_Value(row[name].strip(), crop, int(when), _value(row[value])))
    return found


def _municipal(rows: list[list[str]]) -> list[_Value]:
    """Walk down the export: the last place, indicator, kind of farms and header line count."""
    place, farms = "", ALL_FARMS
    years: dict[int, int] = {}
    reading = False
    found = []
    for row in rows:
        first = next((cell.strip() for cell in row if cell.strip()), "")
        numbers = {i: cell for i, cell in enumerate(row) if i in years and cell.strip()}
        header = _years(row)
        if header:
            years = header
            reading = reading or YIELD in first.lower()
        elif numbers:
            if reading and place:
                found += [
                    _Value(place, first, years[i], _value(cell), farms)
                    for i, cell in numbers.items()
                ]
        elif _INDICATOR.search(first) and not _FARMS.match(first):
            reading, farms = YIELD in first.lower(), ALL_FARMS
        elif _FARMS.search(first):
            farms = first.lower()
        elif _PLACE.search(first):
            place, farms = first, ALL_FARMS
    return found


def _years(row: list[str]) -> dict[int, int]:
    """Column → year of a header line."""
    return {i: int(cell.strip()[:4]) for i, cell in enumerate(row) if _YEAR.fullmatch(cell.strip())}


def _value(cell: str) -> float | None:
    value = number(cell)
    return None if value is None or not np.isfinite(value) or value >= MISSING else value


def _column(head: list[str], names: tuple[str, ...]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _basis(text: str) -> str:
    return next((basis for basis, said in _BASES if said.search(text)), "unknown")


def _matched(path: Path, values: list[_Value], match: Match, scale: float, basis: str) -> Imported:
    groups: dict[tuple[str, str, str], list[_Value]] = {}
    for value in values:
        groups.setdefault((value.name, value.crop, value.farms), []).append(value)
    rows: dict[tuple[str, str, int], float] = {}
    report = []
    for (name, crop, farms), group in groups.items():
        adm_id, reason = _place(name, farms, match)
        code = crop_code(crop)
        if code is None:
            adm_id, reason = None, "crop not known"
        known = {v.year: v.value for v in group if v.value is not None}
        twice = 0
        if adm_id is not None and code is not None:
            for year, c_ha in known.items():
                key = (adm_id, code, year)
                twice += key in rows and not np.isclose(rows[key], c_ha * scale)
                rows.setdefault(key, c_ha * scale)
        if twice:
            reason = f"{twice} years already had another value from a row above, which stands"
        report.append(
            {
                "source_name": name,
                "source_crop": crop,
                "adm_id": adm_id,
                "crop": code,
                "years": len(known),
                "missing": len(group) - len(known),
                "outcome": "dropped" if adm_id is None else "matched",
                "reason": reason,
            }
        )
    if not rows:
        names = ", ".join(sorted({value.name for value in values})[:5])
        raise InputError(f"{path}: none of its names is a district of the area ({names}, …)")
    table = pd.DataFrame(
        [(*key, value, np.nan, basis) for key, value in sorted(rows.items())], columns=list(COLUMNS)
    )
    return Imported(table, pd.DataFrame(report))


def _place(name: str, farms: str, match: Match) -> tuple[str | None, str]:
    """Area id of a name, and why when there is none."""
    if farms != ALL_FARMS:
        return None, f"only {farms}, not all farms"
    if _AGGREGATE.search(name):
        return None, "aggregate of several districts"
    try:
        adm_id = match.get(name) if isinstance(match, Mapping) else match(name)
    except InputError as ambiguous:
        return None, str(ambiguous)
    return adm_id, "" if adm_id is not None else "no district of that name in the area"
