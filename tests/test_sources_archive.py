"""Folders of scenes: what is found, what it says, what is refused; and that GDAL opens it."""

import re
import resource
import shutil
import stat
import time
import zipfile
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from shapely.geometry import shape

from lesniva import sources
from lesniva.cube.radiometry import dn_offset
from lesniva.errors import EnvironmentFaultError, InputError, NoDataError
from lesniva.sources import Skipped, archive, catalog, reading

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
SAFE = SHARED / "api_responses" / "safe_metadata"
recorded = pytest.mark.skipif(
    not SHARED.is_dir(), reason="recorded metadata (../shared/data) are not here"
)
NEW = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157"
OLD = "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500"
BANDS = {"R10m": ("B02", "B03", "B04", "B08"), "R20m": ("B04", "B8A", "B11", "SCL")}


def image(path: Path, metres: int, driver: str = "JP2OpenJPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = "uint8" if "SCL" in path.name else "uint16"
    rng = np.random.default_rng(len(path.name))
    options = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        width=640 // metres,
        height=640 // metres,
        count=1,
        dtype=dtype,
        crs="EPSG:32637",
        transform=rasterio.Affine(metres, 0, 5e5, 0, -metres, 6e6),
        **options,
    ) as file:
        file.write(rng.integers(1, 12, (640 // metres,) * 2).astype(dtype), 1)


def product(folder: Path, name: str = NEW, *, manifest: bool = False) -> Path:
    """A SAFE folder with real metadata and tiny images."""
    title = name.removeprefix("esa_")
    safe = folder / f"{title}.SAFE"
    granule = safe / "GRANULE" / "L2A_T01WCS"
    granule.mkdir(parents=True)
    for source, target in (("MTD_MSIL2A.xml", safe), ("MTD_TL.xml", granule)):
        (target / source).write_bytes((SAFE / name / source).read_bytes())
    for size, bands in BANDS.items():
        for band in bands:
            image(granule / "IMG_DATA" / size / f"T01_2023_{band}_{size[1:]}.jp2", int(size[1:3]))
    if manifest:
        parts = "".join(
            f'<byteStream size="{path.stat().st_size}">'
            f'<fileLocation href="./{path.relative_to(safe).as_posix()}"/></byteStream>'
            for path in safe.rglob("*.jp2")
        )
        (safe / "manifest.safe").write_text(f"<xfdu>{parts}</xfdu>")
    return safe


def zipped(safe: Path) -> Path:
    path = safe.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(safe.rglob("*")):
            file.write(member, Path(safe.name) / member.relative_to(safe))
    shutil.rmtree(safe)
    return path


def skipped_in(folder: Path) -> dict[str, str]:
    skipped: list[Skipped] = []
    with pytest.raises(NoDataError, match="no whole Sentinel-2 scene among"):
        archive.index(folder, on_skipped=skipped.append)
    return {one.where: one.why for one in skipped}


def opened(folder: Path) -> list[pystac.Item]:
    return sources.search(kind="catalog", href=str(folder / catalog.INDEX))


@recorded
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_product_becomes_an_item_whose_bands_open_and_whose_offset_is_right(tmp_path, packed):
    safe = product(tmp_path, manifest=True)
    with rasterio.open(next(safe.rglob("*B04_10m.jp2"))) as file:
        red = file.read(1)
    if packed:
        zipped(safe)
    archive.index(tmp_path)
    [item] = opened(tmp_path)
    assert item.id == NEW
    assert item.properties["s2:processing_baseline"] == "05.09"
    assert item.properties["sat:relative_orbit"] == 73
    assert item.properties["grid:code"] == "MGRS-01WCS"
    assert item.properties["platform"] == "sentinel-2a"
    mean = re.search(
        r"<Mean_Sun_Angle>\s*<Z[^>]*>([\d.]+)<", (SAFE / NEW / "MTD_TL.xml").read_text()
    )
    assert item.properties["view:sun_elevation"] == pytest.approx(90 - float(mean[1]))
    assert 0 < item.properties["view:incidence_angle"] < 12
    assert item.datetime is not None
    assert item.datetime.isoformat().startswith("2023-06-25T23:47:14.46")  # of the tile itself
    assert dn_offset(item, "red").value == -1000
    assert dn_offset(item, "red").certain
    files = sources.assets(item)
    assert files.keys() == {"blue", "green", "red", "nir", "nir08", "swir16", "scl"}
    assert files["red"].endswith("B04_10m.jp2")
    np.testing.assert_array_equal(reading.read(files["red"], lambda file: file.read(1)), red)


@recorded
def test_a_product_of_an_old_baseline_gets_no_offset(tmp_path):
    product(tmp_path, OLD)
    archive.index(tmp_path)
    [item] = opened(tmp_path)
    assert item.properties["s2:processing_baseline"] == "02.14"
    assert (dn_offset(item, "red").value, dn_offset(item, "red").certain) == (0, True)


@recorded
@pytest.mark.parametrize("name", sorted(path.name for path in SAFE.glob("*")))
def test_outlines_of_recorded_products_hold_their_tile_and_never_span_the_world(name):
    path = next((SAFE / name).glob("MTD_MSIL2?.xml"))
    outline = archive._footprint(archive.defusedxml.ElementTree.parse(path).getroot())
    parts = getattr(outline, "geoms", [outline])
    assert all(part.bounds[2] - part.bounds[0] < 8 for part in parts)
    assert outline.is_valid
    assert 0 < outline.area < 10


@recorded
def test_collection_and_folder_may_move_together(tmp_path):
    product(tmp_path / "here")
    archive.index(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    [item] = opened(tmp_path / "there")
    assert Path(sources.assets(item)["red"]).is_file()


@recorded
def test_an_index_may_stand_outside_a_read_only_folder(tmp_path):
    product(tmp_path / "scenes")
    archive.index(tmp_path / "scenes", out=tmp_path / "index.json")
    found = sources.search(kind="catalog", href=str(tmp_path / "index.json"))
    assert Path(sources.assets(found[0])["scl"]).is_file()


@recorded
def test_half_downloaded_products_are_named_and_the_rest_goes_on(tmp_path):
    for number in range(4):
        product(tmp_path / str(number), NEW, manifest=number == 1)
    product(tmp_path / "whole", OLD)
    cut = next((tmp_path / "0").rglob("*B04_10m.jp2"))
    cut.write_bytes(cut.read_bytes()[:-100])
    short = next((tmp_path / "1").rglob("*B08_10m.jp2"))
    short.write_bytes(short.read_bytes()[:-50] + b"\xff\xd9")
    next((tmp_path / "2").rglob("MTD_TL.xml")).unlink()
    for lost in (tmp_path / "3").rglob("*SCL*"):
        lost.unlink()
    torn = zipped(product(tmp_path / "4"))
    torn.write_bytes(torn.read_bytes()[:-500])
    skipped: list[Skipped] = []
    found = archive.index(tmp_path, on_skipped=skipped.append)
    assert [item.id for item in found] == [OLD.removeprefix("esa_")]
    told = {one.where.split("/")[0]: one.why for one in skipped}
    assert re.search(r"B04_10m\.jp2 is cut \(\d+ bytes\)", told["0"])
    assert re.search(r"B08_10m\.jp2 has \d+ of \d+ bytes", told["1"])
    assert "incomplete (GRANULE/…/MTD_TL.xml is missing)" in told["2"]
    assert "no image of scl" in told["3"]
    assert "zip" in told["4"]


@recorded
def test_zip_members_that_lead_elsewhere_are_refused_and_nothing_is_written(tmp_path):
    cases = {"up": "../../evil.jp2", "root": "/evil.jp2", "drive": "C:evil.jp2"}
    for name, member in cases.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as file:
            file.writestr("x.SAFE/MTD_MSIL2A.xml", "<a/>")
            file.writestr(member, "x")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        link = zipfile.ZipInfo("x.SAFE/MTD_MSIL2A.xml")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.SAFE/MTD_MSIL2A.xml", b"0" * 20_000_000)
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        file.writestr("x.SAFE/MTD_MSIL2A.xml", "<a/>")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.SAFE/MTD_MSIL2A.xml", "<b/>")
    before = set(tmp_path.rglob("*"))
    started = time.monotonic()
    told = skipped_in(tmp_path)
    assert time.monotonic() - started < 2
    for name in ("up", "root", "drive"):
        assert "leads out of the zip, refused" in told[f"{name}.zip"]
    assert "is a link, refused" in told["link.zip"]
    assert "unpacks to too much, refused" in told["bomb.zip"]
    assert "the same member twice, refused" in told["twice.zip"]
    assert set(tmp_path.rglob("*")) == before


BOMB = (
    '<!DOCTYPE a [<!ENTITY x0 "lol">'
    + "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 10))
    + "]><a>&x9;</a>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


@recorded
@pytest.mark.parametrize("text", [BOMB, OUTSIDE, "<a>", ""], ids=["bomb", "outside", "cut", "none"])
def test_hostile_or_broken_xml_is_refused_fast_and_small(tmp_path, text):
    safe = product(tmp_path)
    (safe / "MTD_MSIL2A.xml").write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    [why] = skipped_in(tmp_path).values()
    assert "MTD_MSIL2A.xml cannot be read" in why
    assert time.monotonic() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_loose_band_files_become_items_by_folder_and_by_prefix(tmp_path):
    for band, metres in (("red", 10), ("nir", 10), ("scl", 20)):
        image(tmp_path / "S2_20190601" / f"{band}.tif", metres, "GTiff")
    for band, metres in (("B04_10m", 10), ("B04_20m", 20), ("B8A_20m", 20)):
        name = f"S2A_MSIL2A_20220701T083601_N0510_R064_T37UDB_{band}.tif"
        image(tmp_path / "flat" / name, metres, "GTiff")
    image(tmp_path / "undated" / "red.tif", 10, "GTiff")
    (tmp_path / "S2_20200101").mkdir()
    (tmp_path / "S2_20200101" / "red.tif").write_bytes(b"II*\0 but then nothing")
    skipped: list[Skipped] = []
    archive.index(tmp_path, on_skipped=skipped.append)
    old, new = opened(tmp_path)
    assert (old.id, old.datetime.date().isoformat()) == ("S2_20190601", "2019-06-01")
    assert sources.assets(old).keys() == {"red", "nir", "scl"}
    assert sources.assets(new)["red"].endswith("B04_10m.tif")
    assert new.datetime.isoformat() == "2022-07-01T08:36:01+00:00"
    assert dn_offset(old, "red").value == 0
    assert dn_offset(new, "red").value == -1000
    assert shape(old.geometry).centroid.x == pytest.approx(39.0, abs=0.01)
    told = {one.where: one.why for one in skipped}
    assert "holds a date" in told["undated"]
    assert "red.tif cannot be read" in told["S2_20200101"]


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        archive.index(tmp_path / "nowhere")


def test_an_empty_folder_is_no_data(tmp_path):
    assert skipped_in(tmp_path) == {}


def test_an_index_that_cannot_be_written_is_an_environment_fault(tmp_path):
    image(tmp_path / "S2_20190601" / "red.tif", 10, "GTiff")
    with pytest.raises(EnvironmentFaultError, match=r"cannot write .*items\.json"):
        archive.index(tmp_path, out=Path("/proc/no-folder-can-be-made-here/items.json"))
