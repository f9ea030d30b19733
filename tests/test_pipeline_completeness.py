"""Every scene and every block is accounted for: expected, obtained, rejected, and why."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from lesniva.ledger import Seen
from lesniva.pipeline import completeness

DAYS = [np.datetime64("2024-06-01") + 10 * n for n in range(4)]


def day(number: int, *names: str) -> Any:
    return SimpleNamespace(date=DAYS[number], scenes=[SimpleNamespace(id=name) for name in names])


def block(key: str) -> Any:
    return SimpleNamespace(key=key)


def corrections(rejected: dict[int, str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [pd.DatetimeIndex(DAYS[:3]), [0, 1]], names=["time", "stratum"]
    )
    table = pd.DataFrame({"rejected": False, "reason": "", "valid_share": 0.5}, index=index)
    for number, reason in rejected.items():
        table.loc[pd.Timestamp(DAYS[number]), ["rejected", "reason"]] = (True, reason)
    return table


def test_each_scene_says_what_became_of_it_in_its_blocks():
    expected = [
        (block("a"), [day(0, "s0"), day(1, "s1"), day(2, "s2"), day(3, "s3")]),
        (block("b"), [day(0, "s0"), day(1, "s1", "t1"), day(2, "s2")]),
        (block("c"), [day(0, "s0")]),
    ]
    seen = {
        "a": Seen(frozenset({"s0", "s2"}), DAYS[2]),
        "b": Seen(frozenset({"s0", "s1", "t1", "s2"}), DAYS[2]),
    }
    faults = {"s3": "scene s3: red cannot be read", "c": "the worker died"}
    tables = completeness.tables(expected, seen, corrections({2: "haze"}), faults)
    scenes = tables["completeness"].set_index("id")
    assert list(scenes.index) == ["s0", "s1", "t1", "s2", "s3"]
    assert scenes["blocks_expected"].to_dict() == {"s0": 3, "s1": 2, "t1": 1, "s2": 2, "s3": 1}
    assert scenes["blocks_obtained"].to_dict() == {"s0": 2, "s1": 1, "t1": 1, "s2": 2, "s3": 0}
    assert scenes["reason"].to_dict() == {
        "s0": "block c: the worker died",
        "s1": completeness.TOO_LATE,
        "t1": "",
        "s2": "haze",
        "s3": "scene s3: red cannot be read",
    }
    assert scenes["rejected"].to_dict() == {n: n == "s2" for n in scenes.index}
    assert scenes["clear_share"].isna().to_dict() == {n: n == "s3" for n in scenes.index}
    blocks = tables["blocks"].set_index("block")
    assert blocks["scenes_expected"].to_dict() == {"a": 4, "b": 4, "c": 1}
    assert blocks["scenes_obtained"].to_dict() == {"a": 2, "b": 4, "c": 0}
    assert blocks["last_day"].to_dict() == {"a": "2024-06-21", "b": "2024-06-21", "c": ""}
    assert blocks.loc["b", "reason"] == ""


def test_scene_that_nobody_has_come_to_waits_for_the_next_run():
    expected = [(block("a"), [day(3, "s3")]), (block("b"), [day(3, "s3")])]
    seen = {"a": Seen(frozenset(), DAYS[2])}
    tables = completeness.tables(expected, seen, pd.DataFrame(), {})
    assert tables["completeness"].loc[0, "reason"] == completeness.NOT_YET
    assert list(tables["blocks"]["reason"]) == [completeness.NOT_YET, completeness.NO_STATE]
