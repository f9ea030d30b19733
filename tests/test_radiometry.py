"""The offset of every provider, from its recorded items, and every mixture of evidence."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest

from lesniva.conventions import BANDS, HARMONISED_PROPERTY
from lesniva.cube.radiometry import DnOffset, baseline, dn_offset, suspicious
from lesniva.errors import InputError, UnreadableSceneError

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
recorded = pytest.mark.skipif(
    not SHARED.is_dir(), reason="recorded responses (../shared/data) are not here"
)


def load(path: str, collection: str = "sentinel-2-l2a") -> pystac.Item:
    features = json.loads((SHARED / "api_responses" / path).read_text())["features"]
    feature = next(f for f in features if f["collection"] == collection)
    return pystac.Item.from_dict(feature, migrate=False)


def made(
    *,
    flag: bool | None = None,
    offset: float | None = None,
    version: str | None = None,
    sensed: datetime = datetime(2024, 6, 1, tzinfo=UTC),
    **properties: Any,
) -> pystac.Item:
    if flag is not None:
        properties["earthsearch:boa_offset_applied"] = flag
    if version is not None:
        properties["s2:processing_baseline"] = version
    item = pystac.Item("made", None, None, sensed, properties)
    fields = {} if offset is None else {"raster:bands": [{"scale": 0.0001, "offset": offset}]}
    item.add_asset("red", pystac.Asset("red.tif", extra_fields=fields))
    return item


@recorded
@pytest.mark.parametrize(
    ("path", "collection", "value"),
    [
        ("earth_search/test_filter.json", "sentinel-2-l2a", 0),
        ("earth_search/test_filter.json", "sentinel-2-c1-l2a", -1000),
        ("earth_search/test_multiple_collections.json", "sentinel-2-l2a", 0),
        ("cdse/items_2020_reprocessed_0500.json", "sentinel-2-l2a", -1000),
        ("cdse/items_2026_s2c_0512.json", "sentinel-2-l2a", -1000),
        ("planetary_computer/test_datetime_results.json", "sentinel-2-l2a", 0),
    ],
)
def test_recorded_items_of_every_provider_get_their_offset_for_sure(path, collection, value):
    item = load(path, collection)
    decisions = {dn_offset(item, band) for band in BANDS if band != "scl"}
    assert {(decision.value, decision.certain) for decision in decisions} == {(value, True)}
    assert dn_offset(item, "scl").value == 0


@recorded
def test_same_scene_in_both_earth_search_collections_gives_the_same_reflectance():
    shifted = load("earth_search/test_filter.json", "sentinel-2-l2a")
    original = load("earth_search/test_filter.json", "sentinel-2-c1-l2a")
    assert shifted.properties["s2:product_uri"] == original.properties["s2:product_uri"]
    true_dn = 431
    assert (
        true_dn + dn_offset(shifted, "red").value
        == (true_dn + 1000) + dn_offset(original, "red").value
    )


@recorded
def test_local_archives_of_old_scenes_get_no_offset():
    path = min((SHARED / "romania_s2").glob("S2_RO_2019*/*.json"))
    item = pystac.Item.from_dict(json.loads(path.read_text()))
    assert dn_offset(item, "red") == DnOffset(0, "raster offset 0")


VERSIONS = ("02.14", "04.00", "05.10", None)
EVIDENCE = {  # (flag, raster offset): what is added for each of VERSIONS, "?" = doubtful
    (True, 0.0): ("0", "0", "0", "0"),
    (True, -0.1): ("0", "0", "0", "0"),
    (True, None): ("0", "0", "0", "0"),
    (False, 0.0): ("0", "-1000?", "-1000?", "0"),
    (False, -0.1): ("0?", "-1000?", "-1000?", "-1000?"),
    (False, None): ("0", "-1000?", "-1000?", "0?"),
    (None, 0.0): ("0", "0?", "0?", "0"),
    (None, -0.1): ("0?", "-1000", "-1000", "-1000"),
    (None, None): ("0", "-1000", "-1000", "0?"),
}


@pytest.mark.parametrize(
    ("flag", "offset", "version", "expected"),
    [
        (flag, offset, version, expected)
        for (flag, offset), row in EVIDENCE.items()
        for version, expected in zip(VERSIONS, row, strict=True)
    ],
)
def test_every_mixture_of_evidence_is_decided_and_contradictions_are_told(
    flag, offset, version, expected
):
    decision = dn_offset(made(flag=flag, offset=offset, version=version), "red")
    assert f"{decision.value}{'' if decision.certain else '?'}" == expected, decision.why
    assert decision.why


def test_sensing_date_alone_never_shifts_but_makes_silence_doubtful():
    assert dn_offset(made(sensed=datetime(2021, 6, 1, tzinfo=UTC)), "red").certain
    late = dn_offset(made(), "red")
    assert (late.value, late.certain) == (0, False)


def test_own_archive_of_harmonised_dn_is_left_alone_whatever_else_is_stated():
    item = made(offset=-0.1, version="05.10", **{HARMONISED_PROPERTY: True})
    assert dn_offset(item, "red").value == 0


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"s2:processing_baseline": "05.09"}, (5, 9)),
        ({"processing:version": "05.00"}, (5, 0)),
        ({"processing:version": "1.2.3"}, None),
        ({"s2:product_uri": "S2A_MSIL2A_20160101T1_N0510_R095_T37UDB_20240101T1.SAFE"}, (5, 10)),
        ({"eopf:datatake_id": "GS2C_20260527T014651_008996_N05.12"}, (5, 12)),
        ({}, None),
    ],
)
def test_baseline_is_found_wherever_providers_put_it(properties, expected):
    assert baseline(made(**properties)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:offset": -0.1, "raster:scale": 0.0001},
        {"bands": [{"raster:offset": -0.1, "raster:scale": 0.0001}]},
        {"raster:bands": [{"offset": -0.1}]},
    ],
)
def test_offset_is_found_in_every_version_of_the_raster_extension(fields):
    item = made()
    item.assets["red"].extra_fields.update(fields)
    assert dn_offset(item, "red") == DnOffset(-1000, "raster offset −0.1")


def test_landsat_scale_is_refused_instead_of_misread():
    item = made()
    item.assets["red"].extra_fields["raster:bands"] = [{"scale": 2.75e-05, "offset": -0.2}]
    with pytest.raises(UnreadableSceneError, match=r"scale 2\.75e-05, Sentinel-2 L2A has 0\.0001"):
        dn_offset(item, "red")


def test_unheard_of_offset_is_refused():
    with pytest.raises(UnreadableSceneError, match=r"states offset -0\.05"):
        dn_offset(made(offset=-0.05), "red")


def test_unknown_band_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="'B04' is unknown; use one of coastal, blue"):
        dn_offset(made(), "B04")


def test_offset_taken_off_twice_shows_as_negative_red():
    applied = DnOffset(-1000, "raster offset −0.1, flag false", certain=False)
    assert "shifted already" in str(suspicious(applied, share_negative=0.6))
    assert suspicious(applied, share_negative=0.02, dark_vegetation=0.02) is None


def test_forgotten_offset_shows_as_vegetation_without_dark_pixels():
    left = DnOffset(0, "no flag, offset or baseline stated", certain=False)
    assert "unshifted" in str(suspicious(left, share_negative=0, dark_vegetation=0.13))
    assert suspicious(left, share_negative=0, dark_vegetation=None) is None
