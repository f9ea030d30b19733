"""Pipeline files: what may be asked, and every fault at once in words."""

import contextlib
import datetime as dt
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesniva import config
from lesniva.config import CompositePipeline, ForestPipeline, HarvestPipeline
from lesniva.errors import InputError

FOREST = {
    "journey": "forest",
    "area": {"file": "../aoi/lipetsk.geojson"},
    "source": {"kind": "catalog", "href": "archive/catalog.json"},
    "period": {"start": dt.date(2020, 1, 1), "end": dt.date(2023, 12, 31)},
    "monitor": {"history_end": dt.date(2021, 12, 31)},
}

HARVEST = {
    "journey": "harvest",
    "area": {"file": "area.geojson"},
    "source": {"kind": "stac", "archive": "mirror"},
    "period": {"start": dt.date(2016, 9, 1), "end": dt.date(2026, 6, 30)},
    "harvest": {
        "year": 2026,
        "cutoff": dt.date(2026, 6, 30),
        "yields": "yields.csv",
        "crops": {"winter_wheat": {"cover": "winter"}},
    },
}

COMPOSITE = {
    "journey": "composite",
    "area": {"file": "area.geojson"},
    "source": {"kind": "sentinelhub", "archive": "pulled", "max_units": 100},
    "period": {"start": dt.date(2023, 4, 1), "end": dt.date(2023, 9, 30)},
}

JOBS = {"forest": FOREST, "harvest": HARVEST, "composite": COMPOSITE}


def toml(value: Any) -> str:
    """Write a value as TOML, tables in line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)  # nan and inf too are TOML
    return json.dumps(value)


def write(folder: Path, asked: dict[str, Any], name: str = "job.toml") -> Path:
    path = folder / name
    lines = (f"{json.dumps(key)} = {toml(value)}\n" for key, value in asked.items())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def changed(job: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Copy a job with some keys, by path, set to other values or taken out (None)."""
    copy: dict[str, Any] = json.loads(json.dumps(job, default=str))
    copy["period"] = dict(job["period"])
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = copy
        for step in tables:
            table = table.setdefault(step, {})
        if value is None:
            del table[key]
        else:
            table[key] = value
    return copy


def faults(folder: Path, job: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    """What is wrong with a changed job, a list."""
    path = write(folder, changed(job, changes))
    with pytest.raises(InputError) as error:
        config.read(path)
    message = str(error.value)
    assert "\n" not in message
    told = re.fullmatch(rf"pipeline file {re.escape(str(path))} has (\d+) faults?: (.*)", message)
    assert told is not None, message
    each = told[2].split("; ") if told[1] != "1" else [told[2]]
    assert len(each) == int(told[1])
    return each


# ── What is right ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("job", "kind"),
    [(FOREST, ForestPipeline), (HARVEST, HarvestPipeline), (COMPOSITE, CompositePipeline)],
)
def test_least_that_a_job_needs_is_enough(tmp_path, job, kind):
    found = config.read(write(tmp_path, job, "spring-2023.toml"))
    assert type(found) is kind
    assert found.name == "spring-2023"
    assert found.grid.resolution == 20
    assert found.period.start == job["period"]["start"]


def test_file_as_people_write_it(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(
        textwrap.dedent("""\
            # Лес
            name = "les-2024"
            journey = "forest"
            [area]
            file = "a.geojson"
            clip = [39, 52.4, 39.83, 52.51]
            [source]
            kind = "catalog"
            href = "https://example.org/catalog.json"
            months = [5, 6, 7]
            [period]
            start = "2019-05-01"   # a date may be text
            end = 2024-09-30
            [grid]
            resolution = 10        # a whole number is a number
            crs = "EPSG:3035"
            anchor = [10.0, 20]
            [monitor]
            history_end = 2021-12-31
            season = [100, 290]
            """),
        encoding="utf-8",
    )
    job = config.read(path)
    assert isinstance(job, ForestPipeline)
    assert job.name == "les-2024"
    assert job.area.clip == (39, 52.4, 39.83, 52.51)
    assert job.period.start == dt.date(2019, 5, 1)
    assert job.grid.anchor == (10, 20)
    assert job.monitor.season == (100, 290)
    assert job.source.months == [5, 6, 7]


def test_byte_order_mark_of_windows_editors_is_no_fault(tmp_path):
    path = write(tmp_path, FOREST)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert config.read(path).name == "job"


def test_paths_are_relative_to_the_file_wherever_the_user_stands(tmp_path, monkeypatch):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    path = write(folder, changed(FOREST, {"forest.cover": "cover.tif"}))
    monkeypatch.chdir(tmp_path)
    for asked in (path, Path("pipelines/job.toml")):
        job = config.read(asked)
        assert isinstance(job, ForestPipeline)
        assert job.area.file == tmp_path / "aoi" / "lipetsk.geojson"
        assert job.source.href == str(folder / "archive" / "catalog.json")
        assert job.forest.cover == folder / "cover.tif"


def test_absolute_paths_the_home_folder_and_urls_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for asked, expected in (
        ("/data/area.geojson", "/data/area.geojson"),
        ("~/area.geojson", f"{tmp_path}/home/area.geojson"),
    ):
        job = config.read(write(tmp_path, changed(FOREST, {"area.file": asked})))
        assert str(job.area.file) == expected
    address = "https://example.org/a/../catalog.json?x=1"
    job = config.read(write(tmp_path, changed(FOREST, {"source.href": address})))
    assert job.source.href == address


def test_reading_opens_nothing_that_the_file_names(tmp_path):
    named = changed(FOREST, {"area.file": "nowhere/area.geojson", "forest.cover": "gone.tif"})
    config.read(write(tmp_path, named))
    assert [path.name for path in tmp_path.iterdir()] == ["job.toml"]


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────

WRONG = {
    # unknown and missing keys
    "misspelt table": (FOREST, {"monitr": {}}, "monitr: unknown key, did you mean monitor?"),
    "misspelt key": (
        FOREST,
        {"monitor.histroy_end": "2021-12-31"},
        "monitor.histroy_end: unknown key, did you mean history_end?",
    ),
    "misspelt key of a source": (
        FOREST,
        {"source.max_clouds": 80},
        "source.max_clouds: unknown key, did you mean max_cloud?",
    ),
    "misspelt key of a crop": (
        HARVEST,
        {"harvest.crops.winter_wheat.covr": "winter"},
        "harvest.crops.winter_wheat.covr: unknown key, did you mean cover?",
    ),
    "key like no other": (
        FOREST,
        {"period.zzz": 1},
        "period.zzz: unknown key (accepted here: start, end)",
    ),
    "table of another journey": (COMPOSITE, {"monitor.history_end": "2021-01-01"}, "monitor: unk"),
    "key of another source": (FOREST, {"source.max_units": 3}, "source.max_units: unknown key"),
    "missing table": (FOREST, {"monitor": None}, "monitor: missing"),
    "missing key": (FOREST, {"source.href": None}, "source.href: missing"),
    "missing key of a table in a table": (
        HARVEST,
        {"harvest.crops.winter_wheat": {}},
        "harvest.crops.winter_wheat: none of cover, mask and parcels given: give one",
    ),
    "no journey": (
        FOREST,
        {"journey": None},
        'journey: missing; use "forest", "harvest", "fields", "composite"',
    ),
    "unknown journey": (
        FOREST,
        {"journey": "fores"},
        'journey: \'fores\'; use "forest", "harvest", "fields", "composite"',
    ),
    "no kind of source": (
        FOREST,
        {"source.kind": None},
        'source.kind: missing; use "catalog", "stac", "sentinelhub"',
    ),
    "unknown kind of source": (
        FOREST,
        {"source.kind": "ftp"},
        'source.kind: \'ftp\'; use "catalog", "stac", "sentinelhub"',
    ),
    # wrong types
    "number as text": (
        FOREST,
        {"grid.resolution": "20"},
        "grid.resolution: input should be a valid number (found '20')",
    ),
    "yes for a number": (FOREST, {"grid.block": True}, "grid.block: input should be a valid int"),
    "fraction for a count": (FOREST, {"grid.block": 512.5}, "grid.block: input should be a valid"),
    "text for a table": (FOREST, {"area": "area.geojson"}, "area: input should be an object"),
    "too few numbers": (FOREST, {"area.clip": [1, 2, 3]}, "area.clip.3: missing"),
    "no date": (FOREST, {"period.start": "June"}, "period.start: input should be a valid date"),
    "no day of the calendar": (FOREST, {"period.start": "2023-02-30"}, "period.start: input shou"),
    # wrong values
    "nothing": (FOREST, {"grid.resolution": 0}, "grid.resolution: input should be greater than 0"),
    "infinity": (
        FOREST,
        {"grid.resolution": float("inf")},
        "grid.resolution: input should be a finite number (found inf)",
    ),
    "not a number": (FOREST, {"alerts.min_area_ha": float("nan")}, "alerts.min_area_ha: input sh"),
    "beyond its range": (FOREST, {"source.max_cloud": 101}, "source.max_cloud: input should be"),
    "a month too many": (FOREST, {"source.months": [5, 13]}, "source.months.1: input should be"),
    "no word of the list": (
        FOREST,
        {"monitor.index": "savi"},
        "monitor.index: input should be 'auto', 'nbr', 'ndvi', 'ndmi' or 'ndre' (found 'savi')",
    ),
    "name for no folder": (
        FOREST,
        {"name": "../../etc"},
        "name: may hold Latin letters, digits, - and _, at most 64 (found '../../etc')",
    ),
    "no index": (COMPOSITE, {"composite.index": []}, "composite.index: list should have at least"),
    # what does not go together
    "period upside down": (
        FOREST,
        {"period.start": "2024-01-01"},
        "period: start 2024-01-01 is after end 2023-12-31: swap them",
    ),
    "history outside the period": (
        FOREST,
        {"monitor.history_end": "2024-12-31"},
        "monitor.history_end 2024-12-31 must lie inside the period 2020-01-01 – 2023-12-31",
    ),
    "season upside down": (
        FOREST,
        {"monitor.season": [300, 115]},
        "monitor: season 300 – 115 ends before it begins: swap the days",
    ),
    "health and removal by one index": (
        FOREST,
        {"monitor.index": "ndre", "monitor.health": True},
        'monitor: health watches ndre already: leave index = "auto"',
    ),
    "cut-off of another year": (
        HARVEST,
        {"harvest.cutoff": "2025-06-30"},
        "harvest: cutoff 2025-06-30 is not in the harvest year 2026",
    ),
    "no crop": (HARVEST, {"harvest.crops": {}}, "harvest: crops is empty: name at least one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_fault_says_where_it_is_what_was_found_and_what_is_accepted(tmp_path, name):
    job, changes, expected = WRONG[name]
    (fault,) = faults(tmp_path, job, changes)
    assert fault.startswith(expected)


def test_all_faults_come_in_one_message(tmp_path):
    told = faults(
        tmp_path,
        FOREST,
        {
            "grid.resolution": "20",
            "source.max_clouds": 80,
            "monitor.history_end": None,
            "alerts.min_area_ha": -1,
            "extra": 1,
        },
    )
    keys = [fault.split(":")[0] for fault in told]
    assert sorted(keys) == [
        "alerts.min_area_ha",
        "extra",
        "grid.resolution",
        "monitor.history_end",
        "source.max_clouds",
    ]


def test_file_whose_name_cannot_be_a_folder_must_name_its_job(tmp_path):
    path = write(tmp_path, FOREST, "мой лес.toml")
    with pytest.raises(InputError, match=r"name: may hold Latin letters.*\(found 'мой лес'\)"):
        config.read(path)
    assert config.read(write(tmp_path, {**FOREST, "name": "les"}, "мой лес.toml")).name == "les"


def test_broken_toml_is_told_with_its_line(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('journey = "forest"\n[area\nfile = 1')
    with pytest.raises(InputError, match=r"job\.toml is no TOML: .*at line 2"):
        config.read(path)


@pytest.mark.parametrize("repeated", ['name = "a"\nname = "b"', "[area]\n[area]"])
def test_key_given_twice_is_told(tmp_path, repeated):
    path = tmp_path / "job.toml"
    path.write_text(repeated)
    with pytest.raises(InputError, match="is no TOML: "):
        config.read(path)


def test_missing_file_is_told_with_its_path(tmp_path):
    with pytest.raises(InputError, match=r"gone\.toml: No such file or directory; check the path"):
        config.read(tmp_path / "gone.toml")


def test_folder_in_place_of_a_file_is_told(tmp_path):
    with pytest.raises(InputError, match="Is a directory; check the path"):
        config.read(tmp_path)


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16"])
def test_text_that_is_not_utf8_is_told(tmp_path, encoding):
    path = tmp_path / "job.toml"
    path.write_bytes('name = "лес"'.encode(encoding))
    with pytest.raises(InputError, match=r"job\.toml is not UTF-8 text"):
        config.read(path)


def places(table: dict[str, Any], before: str = "") -> list[str]:
    """Paths of all keys of a job."""
    found = []
    for key, value in table.items():
        found.append(before + key)
        if isinstance(value, dict):
            found += places(value, f"{before}{key}.")
    return found


ANYTHING = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    | st.dates()
    | st.times()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_a_file_says_it_is_a_job_or_the_users_mistake(tmp_path_factory, data):
    job = JOBS[data.draw(st.sampled_from(sorted(JOBS)))]
    place = data.draw(st.sampled_from([*places(job), "grid.crs", "area.clip", "name", "new.key"]))
    asked = changed(job, {place: data.draw(ANYTHING)})
    path = write(tmp_path_factory.getbasetemp(), asked, "anything.toml")
    with contextlib.suppress(InputError):
        json.dumps(config.read(path).model_dump(mode="json"), allow_nan=False)


# ── The schema for editors ────────────────────────────────────────────────────────────────────


def test_schema_describes_every_key_and_names_its_dialect():
    schema = config.schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    tables = schema["$defs"]
    for table in ("AreaSection", "GridSection", "MonitorSection", "StacSource"):
        for key, about in tables[table]["properties"].items():
            assert about.get("description") or "const" in about, f"{table}.{key}"
        assert tables[table]["additionalProperties"] is False


def test_schema_accepts_each_journey_by_its_name():
    schema = config.schema()
    assert set(schema["discriminator"]["mapping"]) == {"forest", "harvest", "fields", "composite"}
    json.dumps(schema, allow_nan=False)
