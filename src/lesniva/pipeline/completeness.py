"""What was expected of each scene and each block, what was obtained, and why the rest was not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lesniva import aoi, cube, ledger

NO_STATE = "the block has no model yet"
TOO_LATE = "not there, or not to be read, before younger scenes were; now too late to be taken in"
NOT_YET = "not taken in yet; the next run tries again"


def tables(
    expected: Sequence[tuple[aoi.Block, Sequence[cube.SolarDay]]],
    seen: Mapping[str, ledger.Seen],
    corrections: pd.DataFrame,
    faults: Mapping[str, str],
) -> dict[str, pd.DataFrame]:
    """Hold what was expected against what the state has seen.

    Parameters
    ----------
    expected
        Blocks that scenes reach, each with its solar days.
    seen
        By block key, from the ledger.
    corrections
        By ``(time, stratum)``, with ``rejected``, ``reason`` and ``valid_share`` of each day.
    faults
        Blocks and scenes that failed in this run, each with its reason.

    Returns
    -------
    dict
        ``completeness``: a row a scene: ``id``, ``date``, ``blocks_expected``,
        ``blocks_obtained``, ``rejected`` (looked at, and passed over as a whole),
        ``reason`` (why rejected, or why not all blocks were obtained; empty when all is well) and
        ``clear_share`` (of the forest that it reaches, 0–1; missing where nobody looked).
        ``blocks``: a row a block: ``block``, ``scenes_expected``, ``scenes_obtained``,
        ``last_day`` (newest in its state, empty without one) and ``reason``.
    """
    of_day = _verdicts(corrections)
    scenes: dict[str, dict[str, Any]] = {}
    blocks = []
    for block, days in expected:
        state = seen.get(block.key)
        missing = []
        for day in days:
            for scene in day.scenes:
                row = scenes.setdefault(scene.id, _unseen(scene.id, day.date, of_day))
                row["blocks_expected"] += 1
                if state is not None and scene.id in state.scenes:
                    row["blocks_obtained"] += 1
                    continue
                why = _why(block.key, scene.id, day.date, state, faults)
                missing.append(why)
                row["reason"] = row["reason"] or why
        wanted = sum(len(day.scenes) for day in days)
        blocks.append(
            {
                "block": block.key,
                "scenes_expected": wanted,
                "scenes_obtained": wanted - len(missing),
                "last_day": "" if state is None else str(state.last_day),
                "reason": missing[-1] if missing else "",
            }
        )
    by_date = sorted(scenes.values(), key=lambda row: (row["date"], row["id"]))
    return {"completeness": pd.DataFrame(by_date), "blocks": pd.DataFrame(blocks)}


def _verdicts(corrections: pd.DataFrame) -> Mapping[np.datetime64, Mapping[Any, Any]]:
    """Take what is the same for all strata of a day, by day."""
    if corrections.empty:
        return {}
    of_day = corrections.groupby(level="time")[["rejected", "reason", "valid_share"]].first()
    return {
        np.datetime64(time, "D"): row
        for time, row in zip(of_day.index, of_day.to_dict("records"), strict=True)
    }


def _unseen(
    name: str, date: np.datetime64, of_day: Mapping[np.datetime64, Mapping[Any, Any]]
) -> dict[str, Any]:
    verdict = of_day.get(date, {})
    return {
        "id": name,
        "date": str(date),
        "blocks_expected": 0,
        "blocks_obtained": 0,
        "rejected": bool(verdict.get("rejected", False)),
        "reason": str(verdict.get("reason", "")),
        "clear_share": round(float(verdict.get("valid_share", np.nan)), 4),
    }


def _why(
    block: str,
    scene: str,
    date: np.datetime64,
    state: ledger.Seen | None,
    faults: Mapping[str, str],
) -> str:
    """Say why a block has not seen a scene."""
    if scene in faults:
        return faults[scene]
    if block in faults:
        return f"block {block}: {faults[block]}"
    if state is None:
        return NO_STATE
    return TOO_LATE if date <= state.last_day else NOT_YET
