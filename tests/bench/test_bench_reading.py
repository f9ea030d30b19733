"""Windows of local COGs beside plain GDAL reads of the same windows, odc-stac and stackstac."""

from concurrent.futures import ThreadPoolExecutor

import cogs
import pytest
import rasterio
from timing import timed

from lesniva import cube, indices, masks
from lesniva.sources import pull
from scenes import outline

BLOCK = 1024
BANDS = ("red", "nir", "scl")


@pytest.fixture(scope="module")
def corners(cog_stack):
    height, width = cog_stack.geobox.shape
    return [(row, col) for row in range(0, height, BLOCK) for col in range(0, width, BLOCK)]


def asked(cog_stack):
    box = cog_stack.geobox.boundingbox
    return {
        "items": cog_stack.items,
        "bbox": [box.left, box.bottom, box.right, box.top],
        "crs": "EPSG:32637",
        "resolution": 10,
    }


def pixels_a_second(cog_stack, dates):
    height, width = cog_stack.geobox.shape
    size = height * width * dates * len(BANDS) / 1e6
    return lambda seconds: f"{size / seconds:.0f} Mpx/s"


def test_blocks_of_harmonised_bands(beside, cog_stack, corners):
    def one(corner):
        row, col = corner
        geobox = cog_stack.geobox[row : row + BLOCK, col : col + BLOCK]
        for day in cog_stack.days:
            cube.read_day(day, geobox, BANDS)

    def read_all():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, corners))

    beside(
        "read_day: red, nir, scl of blocks of 1024 × 1024, harmonised",
        read_all,
        {"floor: GDAL reads of the same windows": timed(cogs.plain_windows(cog_stack, BLOCK))},
        rounds=3,
        target="≥ 0.85 × floor",
        rate=pixels_a_second(cog_stack, len(cog_stack.days)),
    )


def test_cube_for_people(beside, cog_stack):
    # the cube of all dates as float32 would not fit beside the rivals' on a small machine
    days = cog_stack.days[: len(cog_stack.days) // 3]

    def plain():
        hrefs = [href for day in days for scene in day.scenes for href in scene.files.values()]

        def read(href):
            with rasterio.open(href, driver="GTiff") as file:
                file.read(1)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, hrefs))

    beside(
        "cube.load: red, nir as float32 reflectance and scl",
        lambda: cube.load(days, cog_stack.geobox, BANDS, threads=2),
        {"floor: GDAL reads of the same files": timed(plain)},
        rounds=3,
        target="≥ 0.8 × floor",
        rate=pixels_a_second(cog_stack, len(days)),
    )


def test_clear_ndvi_of_a_season(beside, cog_stack, corners, peer):
    def one(corner):
        row, col = corner
        geobox = cog_stack.geobox[row : row + BLOCK, col : col + BLOCK]
        for day in cog_stack.days:
            bands = cube.read_day(day, geobox, BANDS)
            out = bands["red"].copy()
            indices.scaled("ndvi", bands, masks.clear(bands["scl"]), out)

    def read_all():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, corners))

    beside(
        "clear NDVI of 18 scenes of 20 × 20 km, 10 m",
        read_all,
        {
            "floor: GDAL reads of the same windows": timed(cogs.plain_windows(cog_stack, BLOCK)),
            "odc-stac": peer("odc_ndvi", **asked(cog_stack)),
            "stackstac": peer("stackstac_ndvi", **asked(cog_stack)),
        },
        rounds=3,
        target="≥ 0.85 × floor, ≥ 2.2 × odc-stac",
        rate=pixels_a_second(cog_stack, len(cog_stack.days)),
    )


def test_pull_into_a_local_archive(beside, cog_stack, tmp_path):
    import pystac

    items = list(pystac.ItemCollection.from_file(str(cog_stack.items)))[:4]
    area = outline(cog_stack.geobox).buffer(-0.01)
    size = sum(
        rasterio.open(asset.href).width ** 2 * (1 if band == "scl" else 2)
        for item in items
        for band, asset in item.assets.items()
    )
    archives = (tmp_path / str(number) for number in range(100))

    def plain():
        def read(href):
            with rasterio.open(href, driver="GTiff") as file:
                file.read(1)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, [one.href for item in items for one in item.assets.values()]))

    beside(
        "pull four scenes: read, compress, read back, checksum",
        lambda: pull.pull(items, next(archives), area=area, threads=2),
        {"floor: GDAL reads of the same files": timed(plain)},
        rounds=3,
        rate=lambda seconds: f"{size / seconds / 1e6:.0f} MB/s of pixels",
    )
