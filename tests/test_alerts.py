"""Alerts: no seams, true hectares, and an identity that lasts from run to run."""

import itertools
import json
import uuid
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from shapely.geometry import MultiPolygon, box

from lesniva import alerts
from lesniva.conventions import Status, from_day_number, to_day_number
from lesniva.publish import write_geojson
from scenes import NORTH, WEST, grid

SIZE = 24
GRID = grid(SIZE, SIZE, 20)

DAY = int(to_day_number(np.datetime64("2023-06-01")))


def state(changed: Any, *, day: Any = DAY, status: Any = Status.CONFIRMED) -> xr.Dataset:
    """What the monitor says of a grid: changed pixels, all else normal."""
    changed = np.asarray(changed, dtype=bool)
    zero = np.zeros(changed.shape)
    values = {
        "status": np.where(changed, status, Status.NONE).astype(np.uint8),
        "first_anomaly": np.where(changed, day, 0).astype(np.uint16),
        "last_normal": np.where(changed, np.subtract(day, 10), 0).astype(np.uint16),
        "likely_day": np.where(changed, np.subtract(day, 5), 0).astype(np.uint16),
        "confirmed": np.where(changed, np.add(day, 15), 0).astype(np.uint16),
        "probability": (zero + 0.9).astype(np.float32),
        "magnitude": (zero - 0.4).astype(np.float32),
        "n_anomalies": (zero + 4).astype(np.uint8),
        "channel": zero.astype(np.uint8),
        "faded": zero.astype(np.uint16),
    }
    return xr.Dataset({name: (("y", "x"), array) for name, array in values.items()})


def pixels_of(monitored: xr.Dataset, *, row: int = 0, col: int = 0) -> pd.DataFrame:
    arrays = {name: monitored[name].values for name in alerts.FINDINGS}
    return alerts.changed_pixels(arrays, first_row=row, first_col=col)


def alerts_of(
    monitored: xr.Dataset, geobox: GeoBox = GRID, *, min_area_ha: float = 0.04
) -> gpd.GeoDataFrame:
    return alerts.alerts(pixels_of(monitored), "utm37n", geobox, min_area_ha=min_area_ha)


def drawn(picture: str) -> Any:
    """Pixels of a drawing: # is changed."""
    return np.array([[mark == "#" for mark in line] for line in picture.split()])


# ── Who belongs together ──────────────────────────────────────────────────────────────────────


def flooded(days: Any) -> Any:
    """Groups by plain flood fill, the oracle: 8 neighbours, at most 45 days apart; 0 is nothing."""
    label = np.zeros(days.shape, dtype=int)
    for start in zip(*np.nonzero(days), strict=True):
        if label[start]:
            continue
        todo = [start]
        label[start] = label.max() + 1
        while todo:
            row, col = todo.pop()
            for r, c in itertools.product(range(row - 1, row + 2), range(col - 1, col + 2)):
                inside = 0 <= r < days.shape[0] and 0 <= c < days.shape[1]
                if not inside or not days[r, c] or label[r, c]:
                    continue
                if abs(int(days[r, c]) - int(days[row, col])) <= 45:
                    label[r, c] = label[start]
                    todo.append((r, c))
    return label


DAYS = hnp.arrays(
    np.uint16,
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    elements=st.sampled_from([0, 0, 3000, 3044, 3045, 3046, 3090, 3091]),
)


@given(days=DAYS)
def test_groups_are_those_of_a_flood_fill(days):
    pixels = pixels_of(state(days > 0, day=days))
    group = alerts.connect(pixels)
    expected = flooded(days)[pixels["row"], pixels["col"]]
    # the same partition, whatever the names of its parts
    assert len(set(zip(group, expected, strict=True))) == len(set(group)) == len(set(expected))


@pytest.mark.parametrize(
    ("gap", "groups"), [(0, 1), (44, 1), (45, 1), (46, 2), (400, 2), (-45, 1), (-46, 2)]
)
def test_neighbours_more_than_45_days_apart_are_two_events(gap, groups):
    assert len(alerts_of(state([[1, 1]], day=[[DAY, DAY + gap]]))) == groups


@pytest.mark.parametrize(("seen_normal", "groups"), [(-10, 1), (-1, 1), (0, 2), (110, 2)])
def test_a_neighbour_that_clouds_hid_meanwhile_is_part_of_the_event(seen_normal, groups):
    monitored = state([[1, 1]], day=[[DAY, DAY + 120]])
    monitored["last_normal"].values[0, 1] = DAY + seen_normal
    assert len(alerts_of(monitored)) == groups


def test_what_was_never_seen_normal_is_joined_by_its_first_anomaly_alone():
    monitored = state([[1, 1]], day=[[DAY, DAY + 120]])
    monitored["last_normal"].values[0, 1] = 0
    assert len(alerts_of(monitored)) == 2


def faded(monitored: xr.Dataset, where: Any) -> xr.Dataset:
    """What the monitor says long after: pixels seen changed once are shown no more."""
    later, gone = monitored.copy(deep=True), np.asarray(where, dtype=bool)
    later["faded"].values[gone] = monitored["first_anomaly"].values[gone]
    for name in ("status", "first_anomaly", "n_anomalies"):
        later[name].values[gone] = 0
    later["probability"].values[gone] = 0.5
    later["magnitude"].values[gone] = np.nan
    return later


def test_clouds_over_a_part_make_no_confirmed_alert_smaller():
    whole, hidden = np.ones((4, 6)), drawn("...### ...### .#.### .#.###")
    seen = state(whole, status=np.where(hidden, Status.LOW, Status.CONFIRMED))
    before = alerts_of(seen, min_area_ha=0.2)
    later = alerts.identify(alerts_of(faded(seen, hidden), min_area_ha=0.2), before)
    assert later.events.empty
    (alert,) = later.alerts.itertuples()
    assert alert.alert_id == before["alert_id"].item()
    assert alert.area_ha == pytest.approx(before["area_ha"].item())
    # what has faded says nothing of the others
    assert (alert.status, alert.n_obs) == ("confirmed", 4)
    assert alert.probability == pytest.approx(0.9)
    assert alert.magnitude == pytest.approx(-0.4)


@pytest.mark.parametrize("sure", ["...... ......", "#..... ......"])
def test_what_was_seen_once_is_closed_where_nothing_confirms_it(sure):
    seen = state(np.ones((2, 6)), status=np.where(drawn(sure), Status.CONFIRMED, Status.LOW))
    before = alerts_of(seen, min_area_ha=0.2)
    later = alerts.identify(alerts_of(faded(seen, ~drawn(sure)), min_area_ha=0.2), before)
    assert later.alerts.empty
    assert later.events["event"].tolist() == ["closed"]


def test_a_slow_front_is_one_event():
    days = DAY + 40 * np.arange(6).reshape(1, 6)
    assert len(alerts_of(state(np.ones((1, 6)), day=days))) == 1


def test_pixels_that_touch_at_a_corner_are_one_alert_of_two_parts():
    (found,) = alerts_of(state(drawn("#. .#"))).geometry
    assert isinstance(found, MultiPolygon)
    assert found.is_valid
    assert len(found.geoms) == 2


def test_pixels_at_opposite_edges_of_the_grid_are_strangers():
    # the last of one row and the first of the next stand side by side in a table
    assert len(alerts_of(state(drawn("...# #...")))) == 2


def test_a_hole_stays_a_hole():
    (found,) = alerts_of(state(drawn("### #.# ###"))).geometry
    assert len(found.interiors) == 1


@pytest.mark.parametrize("status", Status)
def test_only_open_and_lasting_changes_become_alerts(status):
    counts = {Status.LOW, Status.CONFIRMED, Status.WINTER_EARLY, Status.REARMED}
    assert len(alerts_of(state([[1]], status=status))) == (status in counts)


# ── No seam ───────────────────────────────────────────────────────────────────────────────────


def monitored(seed: int) -> xr.Dataset:
    """Blobs of change of two seasons, some not confirmed."""
    rng = np.random.default_rng(seed)
    blobs = rng.random((SIZE, SIZE)) < 0.35
    days = np.where(np.arange(SIZE) % 11 < 6, DAY, DAY + 60) + rng.integers(0, 20, (SIZE, SIZE))
    status = rng.choice([Status.LOW, Status.CONFIRMED, Status.WINTER_EARLY], (SIZE, SIZE))
    made = state(blobs, day=days, status=status)
    for name in ("probability", "magnitude"):
        made[name] = made[name].copy(data=rng.random((SIZE, SIZE)).astype(np.float32))
    return made


CUTS = st.sets(st.integers(1, SIZE - 1), max_size=5)


@settings(max_examples=12)
@given(seed=st.integers(0, 2), rows=CUTS, cols=CUTS, order=st.randoms(use_true_random=False))
def test_blocks_of_any_size_in_any_order_give_the_same_alerts(seed, rows, cols, order):
    whole = monitored(seed)
    expected = alerts_of(whole, min_area_ha=0.1).set_index("alert_id").sort_index()
    blocks = [
        pixels_of(whole.isel(y=slice(top, bottom), x=slice(left, right)), row=top, col=left)
        for top, bottom in itertools.pairwise([0, *sorted(rows), SIZE])
        for left, right in itertools.pairwise([0, *sorted(cols), SIZE])
    ]
    order.shuffle(blocks)
    pixels = pd.concat(blocks, ignore_index=True)
    found = alerts.alerts(pixels, "utm37n", GRID, min_area_ha=0.1)
    found = found.set_index("alert_id").sort_index()
    pd.testing.assert_frame_equal(found.drop(columns="geometry"), expected.drop(columns="geometry"))
    assert found.geometry.geom_equals(expected.geometry).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_alerts_cover_every_changed_pixel_once(seed):
    found = alerts_of(monitored(seed), min_area_ha=0.001).to_crs(str(GRID.crs))
    assert found.area.sum() == pytest.approx(len(pixels_of(monitored(seed))) * 400, rel=1e-6)
    assert found.union_all().area == pytest.approx(found.area.sum(), rel=1e-6)
    assert found.is_valid.all()


# ── Where, how large, when ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("crs", "north"), [("EPSG:32637", 5_830_020), ("EPSG:32642", 7_500_000)])
@pytest.mark.parametrize("west", [200_040, 500_040, 780_000])
def test_hectares_are_geodesic_within_half_a_percent(crs, north, west):
    # at the rim of a zone a pixel's plane area is 0.2 % off
    geobox = grid(SIZE, SIZE, 20, west=west, north=north, crs=crs)
    found = alerts_of(monitored(3), geobox, min_area_ha=0.1)
    geod = pyproj.Geod(ellps="WGS84")
    for alert in found.itertuples():
        area, _ = geod.geometry_area_perimeter(alert.geometry)
        assert alert.area_ha == pytest.approx(abs(area) / 10_000, rel=0.005)


def test_an_alert_across_the_antimeridian_is_cut_there_and_keeps_its_hectares(tmp_path):
    # Chukotka: UTM zone 60 ends at 180°, and its grid goes on beyond
    east, north = pyproj.Transformer.from_crs(4326, 32660, always_xy=True).transform(180, 66)
    west = round(east / 20) * 20 - SIZE * 10
    geobox = grid(SIZE, SIZE, 20, west=west, north=round(north / 20) * 20, crs="EPSG:32660")
    changed = np.zeros((SIZE, SIZE))
    changed[4:20, 4:20] = 1
    found = alerts_of(state(changed), geobox)
    (shape,) = found.geometry
    assert shape.is_valid
    sides = sorted(side for part in shape.geoms for side in part.bounds[::2])
    assert sides == pytest.approx([-180, -180, 180, 180], abs=0.01)
    assert {sides[0], sides[-1]} == {-180, 180}
    area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape)
    assert found["area_ha"].item() == pytest.approx(16 * 16 * 0.04, rel=0.005)
    assert found["area_ha"].item() == pytest.approx(abs(area) / 1e4, rel=0.005)
    write_geojson(tmp_path / "a.geojson", found, id_column="alert_id", metadata={})
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert alerts.identify(found, found).alerts["event"].tolist() == ["same"]


def test_alert_lies_where_its_pixels_are():
    changed = np.zeros((SIZE, SIZE))
    changed[3:5, 7:10] = 1
    found = alerts_of(state(changed))
    (there,) = found.to_crs("EPSG:32637").geometry
    expected = box(WEST + 7 * 20, NORTH - 5 * 20, WEST + 10 * 20, NORTH - 3 * 20)
    assert there.symmetric_difference(expected).area < 0.01
    assert found.geometry.item().contains(gpd.points_from_xy(found["lon"], found["lat"])[0])
    assert found.crs.to_epsg() == 4326


def test_dates_lie_between_the_last_normal_and_the_first_anomaly():
    days = np.array([[DAY, DAY + 4, DAY + 8]])
    (alert,) = alerts_of(state(np.ones((1, 3)), day=days)).itertuples()
    assert alert.date_min == pd.Timestamp("2023-05-26")
    assert alert.date_max == pd.Timestamp("2023-06-05")
    assert alert.date_likely == pd.Timestamp("2023-05-31")
    assert alert.confirmed_on == pd.Timestamp("2023-06-20")


@pytest.mark.parametrize("seed", [2, 3])
def test_no_alert_is_dated_before_the_first_anomaly_of_its_pixels(seed):
    made = monitored(seed)
    first = from_day_number(pixels_of(made)["first_anomaly"].min())
    found = alerts_of(made)
    assert (found["date_max"] >= pd.Timestamp(str(first))).all()
    assert (found["date_min"] < found["date_max"]).all()


def test_alert_says_how_strong_sure_and_often_seen_it_is():
    made = state(np.ones((1, 3)))
    made["probability"].values[:] = [[0.81, 0.9, 0.99]]
    made["magnitude"].values[:] = [[-0.31, -0.5, -0.6]]
    made["n_anomalies"].values[:] = [[2, 5, 6]]
    (alert,) = alerts_of(made).itertuples()
    assert (alert.probability, alert.magnitude, alert.n_obs) == (0.9, -0.5, 5)


@pytest.mark.parametrize(("n_pixels", "alerts_wanted"), [(4, 0), (5, 1), (6, 1)])
@pytest.mark.parametrize("west", [200_040, 500_040])
def test_minimum_mapping_unit_is_five_pixels_of_twenty_metres(n_pixels, alerts_wanted, west):
    geobox = grid(SIZE, SIZE, 20, west=west)
    found = alerts_of(state(np.ones((1, n_pixels))), geobox, min_area_ha=0.2)
    assert len(found) == alerts_wanted


def test_alert_is_confirmed_when_its_confirmed_pixels_alone_reach_the_unit():
    for n_confirmed, expected in ((4, "low"), (5, "confirmed")):
        status = np.where(np.arange(8) < n_confirmed, Status.CONFIRMED, Status.LOW)
        (alert,) = alerts_of(state(np.ones((1, 8)), status=status), min_area_ha=0.2).itertuples()
        assert alert.status == expected
        assert pd.isna(alert.confirmed_on) == (expected == "low")


def test_a_change_that_has_lasted_a_year_stays_confirmed():
    found = alerts_of(state(np.ones((1, 8)), status=Status.REARMED), min_area_ha=0.2)
    assert found["status"].tolist() == ["confirmed"]


# ── Nothing to tell ───────────────────────────────────────────────────────────────────────────


def test_without_changed_pixels_the_table_is_empty_and_of_the_same_kind():
    nothing, something = alerts_of(state(np.zeros((3, 3)))), alerts_of(state(np.ones((3, 3))))
    assert len(nothing) == 0
    assert set(nothing.columns) == set(something.columns)
    assert nothing.crs == something.crs
    for name in something.columns:
        assert nothing[name].dtype == something[name].dtype, name


def test_alerts_below_the_unit_leave_the_same_empty_table():
    assert len(alerts_of(state(np.ones((1, 1))), min_area_ha=1.0)) == 0


def test_tables_of_grids_with_and_without_alerts_can_be_joined(tmp_path):
    parts = [alerts_of(state(np.zeros((3, 3)))), alerts_of(state(np.ones((3, 3))))]
    joined = gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs="EPSG:4326")
    assert len(joined) == 1
    joined.to_parquet(tmp_path / "alerts.parquet")
    again = gpd.read_parquet(tmp_path / "alerts.parquet")
    assert len(alerts.identify(joined, again).events) == 0


# ── Districts ─────────────────────────────────────────────────────────────────────────────────


def halves(border: float) -> gpd.GeoDataFrame:
    """Two districts that meet on a column of the grid."""
    shapes = [
        box(WEST, NORTH - 480, WEST + border * 20, NORTH),
        box(WEST + border * 20, NORTH - 480, WEST + 480, NORTH),
    ]
    table = {"adm_id": ["w", "e"], "name_en": ["West", "East"], "name_ru": ["Запад", "Восток"]}
    return gpd.GeoDataFrame(table, geometry=shapes, crs="EPSG:32637").to_crs("EPSG:4326")


@pytest.mark.parametrize(("border", "expected"), [(3, "e"), (5, "w")])
def test_district_is_the_one_with_the_largest_part(border, expected):
    found = alerts.with_district(alerts_of(state(np.ones((2, 8)))), halves(border))
    assert found["adm_id"].tolist() == [expected]
    names = {"w": ("West", "Запад"), "e": ("East", "Восток")}[expected]
    assert (found["district_en"].item(), found["district_ru"].item()) == names


def test_outside_all_districts_there_is_no_district():
    changed = np.zeros((SIZE, 60))
    changed[2, 2] = changed[2, 50] = 1
    found = alerts.with_district(alerts_of(state(changed), grid(SIZE, 60, 20)), halves(12))
    assert found["adm_id"].dropna().to_dict() == {0: "w"}
    assert found["district_ru"].dropna().to_dict() == {0: "Запад"}


def test_no_alerts_have_the_columns_of_districts():
    found = alerts.with_district(alerts_of(state(np.zeros((2, 2)))), halves(12))
    assert {"adm_id", "district_en", "district_ru"} <= set(found.columns)
    assert len(found) == 0


# ── Identity ──────────────────────────────────────────────────────────────────────────────────


def told(identified: alerts.Identified) -> dict[str, str]:
    """What is told of each alert."""
    return dict(zip(identified.events["alert_id"], identified.events["event"], strict=True))


def after(*pictures: str, **options: Any) -> alerts.Identified:
    """Run after run of drawings."""
    result = None
    for picture in pictures:
        found = alerts_of(state(drawn(picture), **options))
        result = alerts.identify(found, None if result is None else result.alerts)
    assert result is not None
    return result


def test_ids_are_the_same_whenever_they_are_computed():
    first, second = alerts_of(monitored(1)), alerts_of(monitored(1))
    assert first["alert_id"].tolist() == second["alert_id"].tolist()
    assert first["alert_id"].is_unique
    assert {uuid.UUID(name).version for name in first["alert_id"]} == {5}


def test_ids_differ_between_grids():
    pixels = pixels_of(state(np.ones((2, 2))))
    one, other = (alerts.alerts(pixels, name, GRID, min_area_ha=0.01) for name in ("a", "b"))
    assert one["alert_id"].item() != other["alert_id"].item()


def test_in_the_first_run_all_is_new():
    found = after("##.# ##.#")
    assert found.alerts["event"].tolist() == ["new", "new"]
    assert sorted(told(found).values()) == ["new", "new"]


def test_an_unchanged_alert_is_the_same_and_not_told():
    found = after("##.", "##.")
    assert found.alerts["event"].tolist() == ["same"]
    assert found.events.empty


def test_an_alert_that_grows_keeps_its_id():
    (was,) = after("###....").alerts["alert_id"]
    found = after("###....", "######.")
    assert told(found) == {was: "grown"}
    assert found.alerts["alert_id"].tolist() == [was]


def test_an_alert_keeps_its_id_when_its_earliest_pixel_moves():
    first = after(".###")
    found = after(".###", "####")  # a pixel before the one that the id was made of
    assert found.alerts["alert_id"].tolist() == first.alerts["alert_id"].tolist()


def test_an_alert_that_becomes_sure_is_promoted():
    changed = np.ones((1, 8))
    low = alerts.identify(alerts_of(state(changed, status=Status.LOW)), None)
    sure = alerts.identify(alerts_of(state(changed)), low.alerts)
    assert told(sure) == {low.alerts["alert_id"].item(): "promoted"}


def test_alerts_that_meet_become_the_larger_one():
    before = after("####.##").alerts.sort_values("area_ha")
    small, large = before["alert_id"]
    found = after("####.##", "#######")
    assert found.alerts["alert_id"].tolist() == [large]
    events = found.events.set_index(["alert_id", "event"])["into"]
    assert events[small, "merged"] == large
    assert pd.isna(events[large, "grown"])
    assert len(events) == 2


def test_an_alert_that_falls_apart_stays_its_larger_part_and_no_id_is_given_twice():
    # the pixel that the id was made of, the first, goes with the smaller part
    (was,) = after("#######").alerts["alert_id"]
    found = after("#######", "##.####")
    by_area = found.alerts.sort_values("area_ha")
    small, large = by_area["alert_id"]
    assert large == was
    assert small != was
    assert by_area["event"].tolist() == ["split", "same"]
    assert found.events.to_dict("records") == [{"alert_id": small, "event": "split", "into": was}]
    # and from then on each is itself
    assert after("#######", "##.####", "##.####").events.empty


def test_an_alert_that_is_gone_is_closed():
    (was,) = after("##...").alerts["alert_id"]
    found = after("##...", "...##")
    assert set(told(found).values()) == {"closed", "new"}
    assert told(found)[was] == "closed"


def test_all_alerts_gone_are_all_closed():
    found = after("##.##", ".....")
    assert len(found.alerts) == 0
    assert sorted(told(found).values()) == ["closed", "closed"]


def test_a_later_event_on_the_same_ground_is_another_alert():
    first = alerts.identify(alerts_of(state(np.ones((2, 2)))), None)
    for gap, events in ((120, set()), (121, {"closed", "new"})):
        later = alerts_of(state(np.ones((2, 2)), day=DAY + gap))
        found = alerts.identify(later, first.alerts)
        assert set(told(found).values()) == events


def test_an_alert_seen_again_after_a_dark_winter_is_the_same():
    seen = state(
        np.ones((2, 6)), status=np.repeat([[Status.CONFIRMED, Status.LOW]], [2, 4], axis=1)
    )
    before = alerts_of(seen)
    # the single date of most pixels is too old in spring: there the evidence begins anew
    spring = state(np.ones((2, 6)), day=np.repeat([[DAY, DAY + 240]], [2, 4], axis=1))
    spring["last_normal"].values[:] = DAY - 10
    later = alerts.identify(alerts_of(spring), before)
    assert later.alerts["alert_id"].tolist() == before["alert_id"].tolist()
    assert set(later.events["event"]) <= {"promoted"}
    # one that was normal in between is another
    other = state(np.ones((2, 6)), day=DAY + 240)
    events = alerts.identify(alerts_of(other), before).events["event"]
    assert set(events) == {"closed", "new"}


def test_an_alert_whose_best_former_self_is_taken_goes_on_as_the_next_best():
    # the right one has more of the old left one than of the old right one, but the left one has
    # even more of it; the old right one must not vanish without a word
    before = after("############.###").alerts.sort_values("area_ha")
    found = after("############.###", "######.#########")
    by_place = found.alerts.sort_values("lon")
    small, large = before["alert_id"]
    assert by_place["alert_id"].tolist() == [large, small]
    assert told(found) == {small: "grown"}


PLACES = hnp.arrays(np.bool_, (5, 9), elements=st.booleans(), fill=st.nothing())


@settings(max_examples=25)
@given(runs=st.lists(PLACES, min_size=2, max_size=4))
def test_whatever_happens_ids_are_unique_and_no_alert_vanishes_untold(runs):
    before = None
    for changed in runs:
        found = alerts.identify(alerts_of(state(changed)), before)
        ids = found.alerts["alert_id"]
        assert ids.is_unique
        ends = found.events[found.events["event"].isin(["merged", "closed"])]
        assert ends["alert_id"].is_unique
        old = set() if before is None else set(before["alert_id"])
        assert old == (set(ids) & old) | set(ends["alert_id"])
        assert not set(ids) & set(ends["alert_id"])
        begun = found.alerts["event"].isin(["new", "split"])
        assert set(ids[begun]).isdisjoint(old)
        assert set(ids[~begun]) <= old
        assert set(found.events["into"].dropna()) <= set(ids)
        before = found.alerts


@settings(max_examples=12)
@given(first=PLACES, second=PLACES)
def test_the_same_run_again_tells_nothing(first, second):
    once = alerts.identify(
        alerts_of(state(second)), alerts.identify(alerts_of(state(first)), None).alerts
    )
    again = alerts.identify(alerts_of(state(second)), once.alerts)
    assert again.events.empty
    assert again.alerts["alert_id"].tolist() == once.alerts["alert_id"].tolist()
