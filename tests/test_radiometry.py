"""The offset of every provider, from its recorded items, and every mixture of evidence."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesniva.conventions import BANDS, HARMONISED_PROPERTY, NODATA_INT16
from lesniva.cube.radiometry import DnOffset, RedLook, baseline, dn_offset, look, suspicious
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


OFF = DnOffset(-1000, "raster offset −0.1, flag false", certain=False)
LEFT = DnOffset(0, "no flag, offset or baseline stated", certain=False)


def made_scene(share_of_negative=0.0, darkest=200):
    """Red and classes of 100 × 100 pixels: half vegetation, a quarter bare, a quarter cloud."""
    red = np.full((100, 100), darkest + 300, dtype=np.int16)
    red[:50] = np.linspace(darkest, darkest + 500, 50, dtype=np.int16)[:, np.newaxis]
    scl = np.repeat(np.array([4, 4, 5, 9], dtype=np.uint8), 25)[:, np.newaxis] * np.ones(100, "u1")
    red[:75].flat[: round(share_of_negative * 7500)] = -5
    red[75:] = -9_000  # whatever clouds do proves nothing
    return red, scl


@pytest.mark.parametrize(
    ("share", "told"), [(0.6, True), (0.11, True), (0.09, False), (0.0, False)]
)
def test_offset_taken_off_twice_shows_as_negative_red(share, told):
    doubt = suspicious(OFF, look(*made_scene(share_of_negative=share)))
    assert (doubt is not None) == told
    if told:
        assert doubt == (
            f"{share:.0%} of red is negative after the offset (raster offset −0.1, flag false): "
            "the provider's numbers seem to be shifted already"
        )


@pytest.mark.parametrize(("darkest", "told"), [(1_200, True), (1_001, True), (900, False)])
def test_forgotten_offset_shows_as_vegetation_without_dark_pixels(darkest, told):
    doubt = suspicious(LEFT, look(*made_scene(darkest=darkest)))
    assert ("unshifted" in str(doubt)) == told


def test_few_pixels_prove_nothing():
    red, scl = made_scene(share_of_negative=1.0)
    assert suspicious(OFF, look(red[:9], scl[:9])) is None
    assert suspicious(LEFT, look(red[:9], scl[:9])) is None


def test_missing_pixels_are_no_negative_ones():
    red, scl = made_scene()
    red[:30] = NODATA_INT16
    assert look(red, scl) == RedLook(land=4500, negative=0, vegetation=2000, dark=2000)


@given(st.integers(1, 99))
def test_blocks_of_a_scene_add_up(cut):
    red, scl = made_scene(share_of_negative=0.3)
    assert look(red[:cut], scl[:cut]) + look(red[cut:], scl[cut:]) == look(red, scl)
