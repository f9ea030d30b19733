"""Verdicts of reviewers live on and have effects; alerts that are over are kept; sums by week."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from lesniva import alerts, publish
from lesniva.conventions import Status, to_day_number
from scenes import NORTH, WEST, grid

GRID = grid(20, 20, 20)
TODAY = np.datetime64("2023-09-01")
WHEN = pd.Timestamp("2023-09-01", tz="UTC")


def square(col, row=0, size=3):
    left, top = WEST + col * 20, NORTH - row * 20
    return box(left, top - size * 20, left + size * 20, top)


def table(**columns_by_id):
    """Alerts by id: column of their square, and what else is given."""
    names = list(columns_by_id)
    given = [columns_by_id[name] for name in names]
    frame = pd.DataFrame(
        {
            "alert_id": names,
            "status": [each.get("status", "confirmed") for each in given],
            "date_max": pd.to_datetime([each.get("date", "2023-06-01") for each in given]),
            "cause": [each.get("cause", "fire") for each in given],
            "cause_prob": 0.9,
            "area_ha": 0.36,
            "lon": 39.0,
            "lat": 52.0,
        }
    )
    frame["date_min"] = frame["date_max"] - pd.Timedelta(days=5)
    frame["reasons"] = [["burnt"]] * len(names)
    frame["reasons_ru"] = [["гарь"]] * len(names)
    shapes = [square(each["col"]) for each in given]
    return gpd.GeoDataFrame(frame, geometry=shapes, crs=str(GRID.crs)).to_crs("EPSG:4326")


def written(**verdict_by_id):
    """The table as a reviewer leaves it."""
    return pd.DataFrame(
        {"alert_id": list(verdict_by_id), "verdict": list(verdict_by_id.values())}
    ).assign(true_cause=None, reviewer="Иванова", reviewed_on=pd.NaT, comment=None)


def test_a_verdict_keeps_the_outline_of_its_alert_when_the_alert_is_gone():
    first = alerts.review(written(a="false"), None, table(a={"col": 1}))
    again = alerts.review(written(a="false"), first.verdicts, table(b={"col": 9}))
    assert again.verdicts["alert_id"].tolist() == ["a"]
    assert again.verdicts.geometry.geom_equals(first.verdicts.geometry).all()
    assert (first.new, again.new) == (("a",), ())
    assert (first.changed, again.changed) == (True, False)


def test_a_verdict_can_be_changed_and_taken_back_in_the_table():
    known = table(a={"col": 1})
    first = alerts.review(written(a="false"), None, known)
    changed = alerts.review(written(a="confirmed"), first.verdicts, known)
    assert changed.verdicts["verdict"].tolist() == ["confirmed"]
    assert changed.new == ("a",)
    taken_back = alerts.review(written(a=None), first.verdicts, known)
    assert len(taken_back.verdicts) == 0
    assert (taken_back.new, taken_back.changed) == ((), True)


def test_without_a_geopackage_the_stored_verdicts_count():
    first = alerts.review(written(a="false"), None, table(a={"col": 1}))
    assert alerts.review(None, first.verdicts, None).verdicts["alert_id"].tolist() == ["a"]


def test_a_word_that_is_no_verdict_is_told_and_does_not_count():
    found = alerts.review(written(a="maybe", b="false"), None, table(a={"col": 1}, b={"col": 9}))
    assert found.verdicts["alert_id"].tolist() == ["b"]
    (english, russian) = found.warnings[0]
    assert "verdict of alert a is 'maybe', none of confirmed, false, other_cause" in english
    assert "сигнала a — «maybe»" in russian


def test_review_status_and_the_cause_of_the_reviewer_stand_in_the_alerts():
    said = written(a="other_cause", b="false").assign(true_cause=["harvest", None])
    known = table(a={"col": 1}, b={"col": 5}, c={"col": 9})
    told = alerts.reviewed(known, alerts.review(said, None, known).verdicts)
    assert told["review_status"].tolist() == ["other_cause", "false", "unreviewed"]
    assert told["cause"].tolist() == ["harvest", "fire", "fire"]
    assert told["cause_prob"].tolist() == [1.0, 0.9, 0.9]
    assert told["reasons"].tolist() == [["named by a reviewer"], ["burnt"], ["burnt"]]


def test_verdicts_go_through_the_geopackage_and_back(tmp_path):
    known = table(a={"col": 1}, b={"col": 9})
    review = alerts.review(written(a="false"), None, known)
    dated = alerts.dated(review.verdicts, TODAY)
    form = alerts.review_table(known, dated)
    publish.write_geopackage(
        tmp_path / "x.gpkg", {"alerts": known, "verdicts": form}, when=WHEN, attribution="x"
    )
    again = alerts.review(publish.read_table(tmp_path / "x.gpkg", "verdicts"), dated, known)
    assert again.new == ()
    columns = ["alert_id", "verdict", "reviewer", "reviewed_on"]
    assert again.verdicts[columns].to_dict() == dated[columns].to_dict()
    assert form["verdict"].isna().tolist() == [False, True]


def changed(*, day="2023-09-20", probability=0.99, status=Status.CONFIRMED):
    """Pixels of the first row of the grid."""
    return pd.DataFrame(
        {
            "row": 0,
            "col": np.arange(20),
            "status": np.uint8(status),
            "first_anomaly": to_day_number(np.datetime64(day)),
            "probability": np.float32(probability),
        }
    )


def doubted(pixels):
    review = alerts.review(written(a="false"), None, table(a={"col": 4}))
    verdicts = alerts.dated(review.verdicts, TODAY)
    return alerts.doubted(pixels, GRID, verdicts, low=0.85, confirmed=0.99)


@pytest.mark.parametrize(
    ("probability", "kept", "sure"),
    [(0.92, False, False), (0.99, True, False), (0.9985, True, False), (0.9995, True, True)],
)
def test_the_ground_of_a_false_alert_needs_half_as_much_evidence_again(probability, kept, sure):
    found = doubted(changed(probability=probability)).set_index("col")
    inside = [4, 5, 6]
    assert set(inside) <= set(found.index) if kept else not set(inside) & set(found.index)
    assert (found["status"].drop(inside, errors="ignore") == Status.CONFIRMED).all()
    if kept:
        expected = Status.CONFIRMED if sure else Status.LOW
        assert (found.loc[inside, "status"] == expected).all()


@pytest.mark.parametrize("day", ["2023-08-31", "2024-09-02"])
def test_doubt_is_for_changes_of_one_year_after_the_review(day):
    pd.testing.assert_frame_equal(doubted(changed(day=day)), changed(day=day))


# ── What is over ──────────────────────────────────────────────────────────────────────────────


def closed(*rows):
    return pd.DataFrame(rows, columns=["alert_id", "event", "into"])


def test_alerts_that_are_gone_say_what_became_of_them():
    former = table(a={"col": 0}, b={"col": 5, "status": "low"}, c={"col": 10}, d={"col": 15})
    events = closed(("a", "closed", None), ("b", "closed", None), ("c", "merged", "d"))
    over = alerts.past(None, former, events, former.iloc[:0], today=TODAY).set_index("alert_id")
    assert over["outcome"].to_dict() == {"a": "temporary", "b": "withdrawn", "c": "merged"}
    assert over.loc["c", "into"] == "d"
    assert over.loc["a", "cause"] == "temporary"
    assert over.loc["b", "cause"] == "fire"
    assert (over["closed_on"] == pd.Timestamp(TODAY)).all()


def test_a_change_that_came_and_went_between_two_runs_is_in_the_history_once():
    finished = table(x={"col": 2})
    first = alerts.past(None, None, closed(), finished, today=TODAY)
    again = alerts.past(first, table(), closed(), finished, today=TODAY + np.timedelta64(9, "D"))
    assert again["alert_id"].tolist() == ["x"]
    assert again["closed_on"].tolist() == [pd.Timestamp(TODAY)]
    assert again["outcome"].tolist() == ["temporary"]


def test_a_closed_alert_and_its_finished_pixels_are_one():
    former = table(a={"col": 2})
    finished = table(x={"col": 2})
    over = alerts.past(None, former, closed(("a", "closed", None)), finished, today=TODAY)
    assert over["alert_id"].tolist() == ["a"]


def test_a_second_temporary_event_of_the_same_ground_is_another_one():
    first = alerts.past(None, None, closed(), table(x={"col": 2}), today=TODAY)
    later = table(y={"col": 2, "date": "2024-06-01"})
    assert len(alerts.past(first, table(), closed(), later, today=TODAY)) == 2


# ── Sums ──────────────────────────────────────────────────────────────────────────────────────


def test_summary_counts_each_alert_once_by_the_monday_of_its_week_and_no_false_ones():
    known = table(
        a={"col": 0, "date": "2023-06-04"},  # a Sunday
        b={"col": 5, "date": "2023-05-29"},
        c={"col": 10, "date": "2023-06-05", "status": "low"},
        d={"col": 15},
    ).assign(
        adm_id=["x", "x", None, "x"],
        review_status=["unreviewed", "confirmed", "unreviewed", "false"],
    )
    counted = alerts.summary(known, ["adm_id"])
    assert counted["week"].tolist() == [pd.Timestamp("2023-05-29"), pd.Timestamp("2023-06-05")]
    assert counted["alerts"].tolist() == [2, 1]
    assert counted["area_ha"].tolist() == pytest.approx([0.72, 0.36])
    assert counted["adm_id"].isna().tolist() == [False, True]


def test_columns_for_a_reviewers_words_stay_text_while_they_are_empty():
    known = table(a={"col": 1})
    review = alerts.review(written(a=None).astype(object), None, known)
    form = alerts.review_table(known, review.verdicts)
    assert form[["verdict", "true_cause", "reviewer", "comment"]].dtypes.eq("str").all()
    assert form["verdict"].isna().all()
