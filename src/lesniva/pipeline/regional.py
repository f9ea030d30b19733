"""Regional anomalies: scenes in which the forests of a whole stratum depart from what is usual.

The scene correction takes such a departure off, so that a late spring is no alert. What is taken
off has to be told: it may be a drought, or insects, all over the area.
"""

import numpy as np
import pandas as pd

from lesniva import change, tasks

RECENT = np.timedelta64(30, "D")
"""The run and its page name the anomalies of so many days up to the last scene."""


def anomalies(corrections: pd.DataFrame, history_end: np.datetime64) -> pd.DataFrame:
    """List the departures that exceed 2.5 usual spreads of their stratum.

    Parameters
    ----------
    corrections
        By ``(time, stratum)``, of `tasks.corrections`.
    history_end
        Last day of the history, which tells what is usual.

    Returns
    -------
    pandas.DataFrame
        A row a scene after the history and stratum: ``date``; ``stratum``; ``amplitude_from`` and
        ``amplitude_to``, the seasonal amplitudes that it spans (index units, the last without upper
        end); ``departure``, the median residual before the correction; ``taken_off``, what the
        correction took off of it; ``usual_spread`` (index units). Scenes that were passed over are
        left out.
    """
    spread = tasks.usual_spread(corrections, history_end)
    flagged = corrections["regional_anomaly"].to_numpy(bool) & ~corrections["rejected"].to_numpy(
        bool
    )
    rows = corrections[flagged].sort_index()
    time = pd.DatetimeIndex(rows.index.get_level_values("time"))
    stratum = rows.index.get_level_values("stratum").to_numpy(np.int64)
    table = pd.DataFrame(
        {
            "date": time.strftime("%Y-%m-%d"),
            "stratum": stratum,
            "amplitude_from": np.array([0.0, *change.AMPLITUDE_EDGES])[stratum],
            "amplitude_to": np.array([*change.AMPLITUDE_EDGES, np.nan])[stratum],
            "departure": rows["departure"].to_numpy().round(4),
            "taken_off": rows["offset"].to_numpy().round(4),
            "usual_spread": spread[stratum].round(4),
        }
    )
    return table[np.asarray(time > pd.Timestamp(history_end))].reset_index(drop=True)


def in_words(table: pd.DataFrame, last_day: np.datetime64) -> tuple[str, str] | None:
    """Say in English and Russian what has departed lately; None when nothing has."""
    recent = table[pd.to_datetime(table["date"]) > pd.Timestamp(last_day - RECENT)]
    if recent.empty:
        return None
    strata = recent.drop_duplicates("stratum").sort_values("stratum")
    spans = strata[["stratum", "amplitude_from", "amplitude_to"]].to_numpy()
    of_strata = [f"{stratum:.0f} ({_range(low, high)})" for stratum, low, high in spans]
    dates = ", ".join(
        f"{date} ({group['departure'].mean():+.3f})" for date, group in recent.groupby("date")
    )
    named = ", ".join(of_strata)
    english = (
        f"regional anomaly: strata {named} of the seasonal amplitude, dates {dates}: forests of "
        "the whole area departed together; it is taken for weather and makes no alert, and may be "
        "drought or insects (regional_anomalies.csv)"
    )
    russian = (
        f"региональная аномалия: группы {named} по сезонной амплитуде, даты {dates}: леса всей "
        "территории отклонились вместе; это отнесено к погоде и не даёт сигналов, возможны засуха "
        "или насекомые (regional_anomalies.csv)"
    )
    return english, russian


def _range(low: float, high: float) -> str:
    """Amplitudes of a stratum."""
    return f"> {low:g}" if np.isnan(high) else f"{low:g}–{high:g}"
