"""Crop names, Russian and ours, and when each crop is harvested."""

import calendar as calendar_days
import re
from collections.abc import Mapping

import pandas as pd

from lesniva.conventions import cutoff_date
from lesniva.errors import InputError

_STEMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # The first line whose stems all occur decides: the special names stand before the general.
    ("maize_silage", ("кукуруз", "силос")),
    ("maize_silage", ("кукуруз", "корм")),
    ("fodder_beet", ("свекл", "кормов")),
    ("sugar_beet", ("свекл", "сахарн")),
    ("winter_wheat", ("пшениц", "озим")),
    ("spring_wheat", ("пшениц", "яров")),
    ("winter_barley", ("ячмен", "озим")),
    ("spring_barley", ("ячмен", "яров")),
    ("winter_rapeseed", ("рапс", "озим")),
    ("spring_rapeseed", ("рапс", "яров")),
    ("winter_triticale", ("тритикал", "озим")),
    ("spring_triticale", ("тритикал", "яров")),
    ("spring_rye", ("рожь", "яров")),
    ("winter_rye", ("рожь",)),
    ("winter_rye", ("ржи",)),
    ("wheat", ("пшениц",)),
    ("barley", ("ячмен",)),
    ("rapeseed", ("рапс",)),
    ("triticale", ("тритикал",)),
    ("maize", ("кукуруз",)),
    ("sunflower", ("подсолнечник",)),
    ("soybean", ("соя",)),
    ("soybean", ("сои",)),
    ("soybean", ("соев",)),
    ("oats", ("овес",)),
    ("oats", ("овса",)),
    ("peas", ("горох",)),
    ("buckwheat", ("гречих",)),
    ("millet", ("просо",)),
    ("millet", ("проса",)),
    ("potatoes", ("картофел",)),
    ("flax", ("лен", "масличн")),
    ("flax", ("льна",)),
    ("flax", ("лен-кудряш",)),
)

CALENDAR: Mapping[str, tuple[int, int, int, int]] = {
    "winter_wheat": (12, 20, 20, 23),
    "winter_rye": (12, 20, 20, 23),
    "winter_barley": (12, 19, 19, 21),
    "winter_triticale": (12, 20, 20, 23),
    "winter_rapeseed": (12, 19, 19, 22),
    "wheat": (12, 20, 20, 24),
    "rapeseed": (12, 21, 20, 25),
    "spring_wheat": (13, 21, 22, 25),
    "spring_barley": (13, 21, 21, 24),
    "barley": (13, 21, 20, 24),
    "spring_rapeseed": (13, 22, 23, 26),
    "oats": (13, 21, 22, 25),
    "peas": (13, 20, 20, 22),
    "buckwheat": (15, 24, 24, 27),
    "millet": (15, 24, 24, 27),
    "potatoes": (15, 24, 24, 28),
    "flax": (15, 24, 24, 27),
    "sunflower": (15, 25, 25, 29),
    "soybean": (15, 25, 25, 29),
    "maize": (15, 27, 26, 31),
    "sugar_beet": (15, 27, 25, 31),
}
"""First and last dekad of the year in which a forecast is issued, first and last dekad of harvest,
for the Central Chernozem region; dekad 18 ends on 30 June."""

COLUMNS = ("first_issue", "last_issue", "harvest_start", "harvest_end")

REGIONS: Mapping[str, tuple[int, int]] = {
    "central_chernozem": (0, 0),
    "non_chernozem": (1, 1),
    "volga": (0, 0),
    "urals_siberia": (1, 2),
    "south": (-1, -2),
}
"""How many dekads issue and harvest come later than in the Central Chernozem region. Rounded: who
knows the place better gives the dekads of a crop."""


def crop_code(name: str) -> str | None:
    """Our name of a crop, by any usual Russian name of it; None when it is not known.

    Examples
    --------
    >>> crop_code("Пшеница озимая"), crop_code("свёкла сахарная (фабричная)")
    ('winter_wheat', 'sugar_beet')
    """
    plain = re.sub(r"\s+", " ", name.lower().replace("ё", "е")).strip()
    if plain.replace(" ", "_") in _known_codes():
        return plain.replace(" ", "_")
    for code, stems in _STEMS:
        if all(re.search(rf"(?<![а-я]){stem}", plain) for stem in stems):
            return code
    return None


def calendar(
    override: Mapping[str, Mapping[str, int]] | None = None, *, region: str = "central_chernozem"
) -> pd.DataFrame:
    """When each crop is forecast and harvested.

    Parameters
    ----------
    region
        A key of `REGIONS`.
    override
        Dekads (1-36) to replace, by crop and by column name; a crop not yet in the table needs all
        four.

    Returns
    -------
    DataFrame
        Indexed by crop: ``first_issue, last_issue, harvest_start, harvest_end``, dekads of the
        year; dekad k ends on the 10th, 20th or last day of month (k + 2) // 3.

    Raises
    ------
    InputError
        Unknown region or columns, dekads outside 1-36 or out of order; all faults in one message.
    """
    faults = [] if region in REGIONS else [f"region {region!r} is none of {', '.join(REGIONS)}"]
    issue, harvest = REGIONS.get(region, (0, 0))
    shift = (issue, issue, harvest, harvest)
    table = {
        crop: {
            name: dekad + later for name, dekad, later in zip(COLUMNS, dekads, shift, strict=True)
        }
        for crop, dekads in CALENDAR.items()
    }
    for crop, changes in (override or {}).items():
        unknown = sorted(set(changes) - set(COLUMNS))
        if unknown:
            faults.append(f"{crop}: {', '.join(unknown)} is none of {', '.join(COLUMNS)}")
        entry = {**table.get(crop, {}), **{k: v for k, v in changes.items() if k in COLUMNS}}
        missing = [name for name in COLUMNS if name not in entry]
        if missing:
            faults.append(f"{crop}: {', '.join(missing)} missing")
            continue
        if not all(1 <= entry[name] <= 36 for name in COLUMNS):
            faults.append(f"{crop}: a dekad is outside 1-36")
        if entry["first_issue"] > entry["last_issue"] or (
            entry["harvest_start"] > entry["harvest_end"]
        ):
            faults.append(f"{crop}: a first dekad is after its last")
        table[crop] = entry
    if faults:
        raise InputError(f"crop calendar: {'; '.join(faults)}")
    result = pd.DataFrame.from_dict(table, orient="index", columns=list(COLUMNS))
    return result.rename_axis("crop")


def issue_days(dates: pd.Series) -> list[str]:
    """Days ``MM-DD`` on which a crop is forecast: the last days of its dekads of issue.

    Parameters
    ----------
    dates
        The crop's row of `calendar`.

    Examples
    --------
    >>> issue_days(calendar().loc["winter_wheat"])[:3]
    ['04-30', '05-10', '05-20']
    """
    return [dekad_end(k) for k in range(int(dates["first_issue"]), int(dates["last_issue"]) + 1)]


def lead_days(dates: pd.Series, cutoff: str) -> int:
    """Days from the cut-off ``MM-DD`` to the first day of harvest; negative after it.

    Parameters
    ----------
    dates
        The crop's row of `calendar`.
    cutoff
        October to December mean the autumn before.
    """
    dekad = int(dates["harvest_start"]) - 1
    start = cutoff_date(2001, f"{dekad // 3 + 1:02d}-{1 + 10 * (dekad % 3):02d}")
    return int((start - cutoff_date(2001, cutoff)).astype(int))


def dekad_end(dekad: int) -> str:
    """Last day ``MM-DD`` of a dekad of the year, 1-36; of February the 28th."""
    month = (dekad + 2) // 3
    last = {1: 10, 2: 20}.get((dekad - 1) % 3 + 1) or calendar_days.monthrange(2001, month)[1]
    return f"{month:02d}-{last:02d}"


def _known_codes() -> set[str]:
    return {code for code, _stems in _STEMS} | set(CALENDAR)
