"""A sample over the results of a job, filled in and evaluated: the truth comes out."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from typer.testing import CliRunner

from lesniva import cli, pipeline, publish
from lesniva.conventions import Status
from lesniva.errors import InputError
from scenes import NORTH, WEST, grid, write_tif

SIZE = 200
GRID = grid(SIZE, SIZE, 20)


def square(row, col, size):
    left, top = WEST + col * 20, NORTH - row * 20
    return shapely.box(left, top - size * 20, left + size * 20, top)


@pytest.fixture
def results(tmp_path):
    """An output folder with a confirmed and a low alert."""
    status = np.full((SIZE, SIZE), Status.NONE, dtype=np.uint8)
    status[:, :20] = Status.NOT_FOREST
    write_tif(tmp_path / "out" / "rasters" / "status.tif", status, GRID, nodata=255)
    alerts = gpd.GeoDataFrame(
        {
            "alert_id": ["a", "b"],
            "status": ["confirmed", "low"],
            "date_max": pd.to_datetime(["2023-06-01", "2023-07-01"]),
            "confirmed_on": pd.to_datetime(["2023-06-11", None]),
            "cause": ["harvest", "fire"],
        },
        geometry=[square(50, 50, 30), square(120, 120, 20)],
        crs=str(GRID.crs),
    ).to_crs("EPSG:4326")
    alerts.to_parquet(tmp_path / "out" / "alerts.parquet")
    about = {"run_id": "r", "attribution": "SYNTHETIC DATA", "finished": "2023-09-01T00:00:00Z"}
    (tmp_path / "out" / "run.json").write_text(json.dumps(about))
    return tmp_path / "out"


def drawn(results, **options):
    given = {"standard_error": 0.02, "least": 40, "seed": 3} | options
    sample = results.parent / "sample.gpkg"
    return sample, list(pipeline.design(results, sample, **given))


def interpreted(sample, reference):
    """Fill the layer as an interpreter does, `reference` from the stratum."""
    layer = publish.read_table(sample, "sample")
    design = publish.read_table(sample, "design").set_index("unit_id")
    said = design["stratum"].map(reference).reindex(layer["unit_id"]).to_numpy()
    day = np.where(said == "change", "2023-05-22", None)
    layer["reference"], layer["change_to"] = said, pd.to_datetime(pd.Series(day))
    layer.to_file(sample, layer="sample", driver="GPKG")


def test_units_lie_on_pixels_of_their_strata_and_the_interpreter_does_not_see_which(results):
    sample, words = drawn(results)
    layer, design = (publish.read_table(sample, name) for name in ("sample", "design"))
    assert set(layer.columns) == {
        "unit_id", "reference", "change_from", "change_to", "cause", "interpreter", "comment",
        "geometry",
    }  # fmt: skip
    alerts = gpd.read_parquet(results / "alerts.parquet").to_crs(str(GRID.crs))
    points = layer.to_crs(str(GRID.crs)).centroid
    near = points.within(alerts.buffer(200).union_all())
    for stratum, inside in {
        "alert_confirmed": points.within(alerts.geometry[0]),
        "alert_low": points.within(alerts.geometry[1]),
        "near_alert": near & ~points.within(alerts.union_all()),
        "stable": ~near,
    }.items():
        assert inside[design["stratum"] == stratum].all(), stratum
    assert (points.x > WEST + 400).all()  # the rest is not forest
    assert layer.to_crs(str(GRID.crs)).area.to_numpy() == pytest.approx(400, rel=1e-6)
    assert words[0].startswith(f"{len(layer)} units")


def test_strata_have_the_areas_of_their_pixels(results):
    sample, _ = drawn(results)
    strata = publish.read_table(sample, "strata").set_index("stratum")["area_ha"]
    assert strata["alert_confirmed"] == pytest.approx(36)
    assert strata["alert_low"] == pytest.approx(16)
    assert strata.sum() == pytest.approx(SIZE * (SIZE - 20) * 0.04)


def test_a_map_that_is_right_everywhere_is_said_to_be(results):
    sample, _ = drawn(results)
    truth = {"alert_confirmed": "change", "alert_low": "change"}
    interpreted(sample, lambda stratum: truth.get(stratum, "stable"))
    words = "\n".join(pipeline.evaluate(sample))
    assert "SYNTHETIC DATA" in words
    assert "overall accuracy 1.000 ± 0.000" in words
    assert "area 52.0 ± 0.0 ha" in words
    assert "confirmed: median 20 days after the change, 90 % within 20 (of 40 changes)" in words
    table = pd.read_csv(sample.with_name("sample_accuracy.csv")).set_index("class")
    assert table.loc["change", ["users", "producers"]].tolist() == [1, 1]


def test_false_alerts_lower_the_users_accuracy_by_their_area(results):
    sample, _ = drawn(results)
    truth = {"alert_confirmed": "change"}
    interpreted(sample, lambda stratum: truth.get(stratum, "stable"))
    list(pipeline.evaluate(sample))
    table = pd.read_csv(sample.with_name("sample_accuracy.csv")).set_index("class")
    assert table.loc["change", "users"] == pytest.approx(36 / 52, abs=1e-4)
    assert table.loc["change", "area_ha"] == pytest.approx(36)


def test_known_events_are_counted_by_size(results):
    sample, _ = drawn(results)
    interpreted(sample, lambda stratum: "stable" if "alert" not in stratum else "change")
    events = gpd.GeoDataFrame(geometry=[square(50, 50, 30), square(10, 150, 4)], crs=str(GRID.crs))
    events.to_file(sample.with_name("events.gpkg"))
    words = list(pipeline.evaluate(sample, events=sample.with_name("events.gpkg"), out=results))
    assert [line.split() for line in words[-2:]] == [
        ["0.3-1", "ha:", "0", "of", "1"], [">5", "ha:", "1", "of", "1"],
    ]  # fmt: skip


def test_an_interpreted_file_is_never_written_over(results):
    drawn(results)
    with pytest.raises(InputError, match="is there already and may be interpreted"):
        drawn(results)


def test_what_is_no_sample_or_not_filled_is_refused(results, tmp_path):
    sample, _ = drawn(results)
    with pytest.raises(InputError, match="no unit has a reference"):
        list(pipeline.evaluate(sample))
    with pytest.raises(InputError, match="is no sample: sample, design, strata is missing"):
        list(pipeline.evaluate(tmp_path / "no.gpkg"))
    with pytest.raises(InputError, match="has no results of a forest job"):
        list(pipeline.design(tmp_path, tmp_path / "x.gpkg", standard_error=0.1, least=2, seed=1))


def test_the_command_draws_the_same_sample_for_a_seed(results):
    files = [results.parent / f"{name}.gpkg" for name in ("one", "two")]
    for file in files:
        told = CliRunner().invoke(
            cli.app, ["assess", "design", str(results), "--sample", str(file), "--seed", "9"]
        )
        assert told.exit_code == 0, told.output
    assert files[0].read_bytes() == files[1].read_bytes()
