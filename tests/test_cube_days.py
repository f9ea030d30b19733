"""Solar days: one observation a pixel and day, whatever the catalog repeats."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from lesniva.cube import SolarDay, solar_days

GROUND = box(39.0, 52.0, 40.0, 53.0)


def made(
    name: str,
    *,
    when: datetime = datetime(2023, 6, 15, 8, 30, tzinfo=UTC),
    ground: shapely.Polygon = GROUND,
    baseline: str | None = "05.09",
    tile: str | None = "MGRS-37UDB",
    platform: str = "sentinel-2a",
    bbox: list[float] | None = None,
    **properties: Any,
) -> pystac.Item:
    stated = {"s2:processing_baseline": baseline, "grid:code": tile, "platform": platform}
    properties |= {key: value for key, value in stated.items() if value is not None}
    bounds = bbox or list(ground.bounds)
    return pystac.Item(name, shapely.geometry.mapping(ground), bounds, when, properties)


def days_of(*items: pystac.Item) -> list[SolarDay]:
    return solar_days(items, {item.id: {} for item in items})


def kept(*items: pystac.Item) -> list[str]:
    (day,) = days_of(*items)
    return list(day.ids)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_newest_baseline_wins_whatever_the_order(order):
    copies = [made(f"s-{version}", baseline=version) for version in ("02.14", "05.00", "05.10")]
    assert kept(*(copies[place] for place in order)) == ["s-05.10"]


def test_of_one_baseline_the_last_generated_wins():
    early = made("z", **{"s2:generation_time": "2023-06-15T12:00:00Z"})
    late = made("a", **{"s2:generation_time": "2023-06-16T01:00:00Z"})
    assert kept(late, early) == ["a"]


def test_copies_without_any_version_are_settled_by_name_so_that_runs_agree():
    copies = made("x_0", baseline=None), made("x_1", baseline=None)
    assert kept(*copies) == kept(*reversed(copies)) == ["x_1"]


def test_halves_of_a_split_datastrip_are_both_used():
    # the halves overlap by 4 % of one: a whole granule row, as in real splits
    north = made("north", ground=box(39, 52.48, 40, 53))
    south = made("south", ground=box(39, 52, 40, 52.5))
    assert sorted(kept(north, south)) == ["north", "south"]


def test_old_halves_are_dropped_when_one_newer_scene_has_the_ground_of_both():
    halves = [
        made("north", ground=box(39, 52.5, 40, 53), baseline="02.14"),
        made("south", ground=box(39, 52, 40, 52.5), baseline="02.14"),
    ]
    assert kept(*halves, made("whole", baseline="05.00")) == ["whole"]


def test_old_scene_is_dropped_when_newer_halves_have_its_ground_together():
    halves = [
        made("north", ground=box(39, 52.48, 40, 53), baseline="05.00"),
        made("south", ground=box(39, 52, 40, 52.5), baseline="05.00"),
    ]
    assert kept(made("whole", baseline="02.14"), *halves) == ["south", "north"]


def test_reprocessed_half_does_not_drop_the_old_scene_that_shows_more():
    old = made("old", baseline="02.14")
    half = made("half", ground=box(39, 52, 40, 52.5), baseline="05.00")
    assert kept(old, half) == ["half", "old"]


@pytest.mark.parametrize(
    "other",
    [{"platform": "sentinel-2b"}, {"tile": "MGRS-37UDC"}, {"tile": None}],
    ids=["another satellite", "another tile", "no tile stated"],
)
def test_only_scenes_of_one_tile_and_satellite_are_copies(other):
    assert len(kept(made("a"), made("b", baseline="05.10", **other))) == 2


def test_scenes_come_newest_processing_first():
    tiles = [made(f"t{n}", tile=f"MGRS-37UD{n}", baseline=f"05.0{n}") for n in range(4)]
    assert kept(*tiles) == ["t3", "t2", "t1", "t0"]


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("ABC"), st.sampled_from(["04.00", "05.10"])),
        max_size=12,
    )
)
def test_days_rise_are_unique_and_show_every_tile_that_was_there(drawn):
    items = [
        made(
            f"{number}",
            when=datetime(2023, 6, 1 + day, 8, 30, tzinfo=UTC),
            tile=f"MGRS-37U{tile}",
            baseline=version,
        )
        for number, (day, tile, version) in enumerate(drawn)
    ]
    days = days_of(*items)
    dates = np.array([day.date for day in days], dtype="datetime64[D]")
    assert (np.diff(dates) > np.timedelta64(0, "D")).all()
    wanted = {(np.datetime64(f"2023-06-{1 + day:02d}"), f"37U{tile}") for day, tile, _ in drawn}
    shown = [(day.date, scene.tile) for day in days for scene in day.scenes]
    assert len(shown) == len(set(shown))
    assert set(shown) == wanted


@pytest.mark.parametrize(
    ("longitude", "moment", "expected"),
    [
        (39.5, datetime(2023, 6, 15, 8, 30, tzinfo=UTC), "2023-06-15"),
        (75.0, datetime(2023, 6, 15, 20, 30, tzinfo=UTC), "2023-06-16"),
        (-150.0, datetime(2023, 6, 15, 2, 0, tzinfo=UTC), "2023-06-14"),
    ],
)
def test_solar_date_follows_the_sun_not_greenwich(longitude, moment, expected):
    ground = box(longitude - 0.5, 60, longitude + 0.5, 61)
    (day,) = days_of(made("s", when=moment, ground=ground))
    assert day.date == np.datetime64(expected)


def test_footprint_over_the_antimeridian_is_dated_by_its_own_longitude():
    # 23:50 UTC at 180° is ten to noon of the next day; a plain mean of 179 and −179 would be 0°
    when = datetime(2023, 6, 15, 23, 50, tzinfo=UTC)
    (day,) = days_of(made("s", when=when, ground=box(179, 65, 180, 66), bbox=[179, 65, -179, 66]))
    assert day.date == np.datetime64("2023-06-16")


def test_two_zones_of_one_pass_are_one_day():
    # the pass crosses a solar midnight nowhere: local time is half past ten everywhere
    west = made("w", ground=box(41, 52, 42, 53), tile="MGRS-37UGV")
    east = made(
        "e",
        ground=box(42, 52, 43, 53),
        tile="MGRS-38ULE",
        when=datetime(2023, 6, 15, 8, 30, 12, tzinfo=UTC),
    )
    assert len(days_of(west, east)) == 1


def test_a_day_over_a_block_keeps_only_the_scenes_that_reach_it():
    (day,) = days_of(made("a"), made("b", tile="MGRS-37UEB", ground=box(40, 52, 41, 53)))
    near = day.over(box(40.5, 52.5, 40.6, 52.6))
    assert near is not None
    assert near.ids == ("b",)
    assert near.date == day.date
    assert day.over(box(50, 52, 51, 53)) is None


def test_item_without_a_date_is_refused_by_name():
    item = made("undated")
    item.datetime = None
    with pytest.raises(ValueError, match="undated has neither datetime nor start_datetime"):
        days_of(item)


def test_start_datetime_stands_in_for_datetime():
    item = made("mosaic")
    item.datetime = None
    item.common_metadata.start_datetime = datetime(2023, 6, 3, 8, tzinfo=UTC)
    (day,) = days_of(item)
    assert day.date == np.datetime64("2023-06-03")
