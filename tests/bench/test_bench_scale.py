"""A forest journey on blocks of 2048² × 60 dates: wall time and memory by area and workers.

A run with one worker has one core, as a smaller machine would: a worker reads in several threads,
which would use the second core as well. The rates of `pipeline.costs` come first, by its names.
"""

import datetime as dt
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import numpy as np
import psutil
import pystac
import pytest
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds

from lesniva import aoi, config, demo, execution, ledger, pipeline
from lesniva.pipeline import costs, planning
from scenes import scene_of, write_tif

SIDE = int(os.environ.get("LESNIVA_BENCH_SIDE", "2048"))
"""Pixels of 20 m along the edge of a block; 512 or so for a quick look."""

HOME = Path(__file__).parents[2]

PROJECTED_DATES = 150
"""Solar days that reach a place in the seasons of a history of three years, without the cloudiest
scenes: an assumption of the projection."""

CORNER = (491_520, 5_857_280)
"""A corner of the lattice of such blocks, in UTM zone 37."""

LAYOUTS = {1: [(0, 0)], 2: [(0, 0), (1, 0)], 4: [(0, 0), (1, 0), (0, 1), (1, 1)]}
"""Blocks of an area → their columns and rows."""

LEVELS = {
    "blue": 250, "green": 450, "red": 300, "nir": 3_300,
    "nir08": 3_400, "swir16": 1_500, "swir22": 700,
}  # fmt: skip
FINE = ("blue", "green", "red", "nir")
"""Bands of 10 m."""

VARIANTS = 3
"""Files a band; the 60 dates share them, which changes nothing for reading and computing."""


pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes over four blocks: 59 dates of three seasons, and one that comes the night after."""
    demo.warm_up()  # as an installation does: compiling is none of what grows with the area
    folder = tmp_path_factory.mktemp("scale")
    season = [
        dt.datetime(2022, 5, 2, 8, 30, tzinfo=dt.UTC) + dt.timedelta(8 * n) for n in range(20)
    ]
    dates = [date.replace(year=year) for year in (2022, 2023, 2024) for date in season]
    west, south, east, north = union([block(*place) for place in LAYOUTS[4]]).bounds
    ground = GeoBox.from_bbox((west, south, east, north), "EPSG:32637", resolution=20)
    variants = [write_bands(folder, ground, n) for n in range(VARIANTS)]
    footprint = shapely.box(*transform_bounds("EPSG:32637", "EPSG:4326", *ground.boundingbox))
    items = [
        scene_of(
            variants[number % VARIANTS],
            name=f"S2A_{date:%Y%m%d}",
            when=date,
            footprint=footprint,
        ).item
        for number, date in enumerate(dates)
    ]
    for name, some in (("evening", items[:-1]), ("night", items)):
        text = json.dumps(pystac.ItemCollection(some).to_dict())
        (folder / f"{name}.json").write_text(text)
    return folder


def union(blocks: list[GeoBox]) -> shapely.Geometry:
    """Ground of some blocks."""
    return shapely.union_all([each.extent.geom for each in blocks])


def block(column: int, row: int) -> GeoBox:
    west, north = CORNER[0] + column * SIDE * 20, CORNER[1] - row * SIDE * 20
    return GeoBox.from_bbox(
        (west, north - SIDE * 20, west + SIDE * 20, north), "EPSG:32637", resolution=20
    )


def write_bands(folder: Path, ground: GeoBox, variant: int) -> dict[str, Path]:
    """Write the bands of a scene as Sentinel-2 has them: 10 and 20 m, overviews, deflate."""
    draw = np.random.default_rng(variant)
    options: dict[str, Any] = {
        "driver": "COG", "compress": "deflate", "predictor": 2, "num_threads": "all_cpus"
    }  # fmt: skip
    files = {}
    for band, level in LEVELS.items():
        grid = ground.zoom_out(0.5) if band in FINE else ground
        values = level * (1 + 0.03 * draw.standard_normal(grid.shape, dtype=np.float32))
        file = folder / f"{band}-{variant}.tif"
        files[band] = write_tif(file, values.astype(np.uint16), grid, **options)
    clouds = draw.choice([4, 4, 4, 9], size=[side // 64 for side in ground.shape])
    scl = np.kron(clouds, np.ones((64, 64))).astype(np.uint8)
    files["scl"] = write_tif(folder / f"scl-{variant}.tif", scl, ground, driver="COG")
    return files


def job(folder: Path, blocks: int, items: str) -> config.AnyPipeline:
    """Forest job of some blocks on the scenes known in the evening, or a night later."""
    whole = union([block(*place) for place in LAYOUTS[blocks]]).buffer(-500)
    outline = shapely.box(*transform_bounds("EPSG:32637", "EPSG:4326", *whole.bounds))
    area = {
        "type": "Feature",
        "properties": {"adm_id": "scale", "name_en": "Scale", "name_ru": "Масштаб"},
        "geometry": shapely.geometry.mapping(outline),
    }
    place = folder / f"area-{blocks}.geojson"
    place.write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    file = folder / f"job-{blocks}-{items}.toml"
    file.write_text(f"""
        journey = "forest"
        name = "scale"
        [area]
        file = "{place}"
        [source]
        kind = "catalog"
        href = "{folder / items}.json"
        [period]
        start = 2022-01-01
        end = 2024-12-31
        [grid]
        resolution = 20
        block = {SIDE}
        [monitor]
        history_end = 2023-12-31
    """)
    return config.read(file)


class Peak:
    """Largest memory that this process and its children have had together, while it is watched."""

    def __enter__(self) -> Self:
        self.gigabytes = 0.0
        self._over = Event()
        self._watcher = Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it ended between being listed and being asked
                    continue
            self.gigabytes = max(self.gigabytes, total / 1e9)


@contextmanager
def on_cores(number: int) -> Iterator[None]:
    """Leave this process and its children so many cores, and a local cluster as many workers."""
    mine = os.sched_getaffinity(0)
    if len(mine) < number:
        pytest.skip(f"this machine has fewer than {number} cores")
    os.sched_setaffinity(0, sorted(mine)[:number])
    try:
        # Dask has counted them when it was imported
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dask.system.CPU_COUNT", number)
            yield
    finally:
        os.sched_setaffinity(0, mine)


def test_rates_of_the_costs(table, archive, tmp_path):
    """Seconds of CPU of the tasks of one block, in this process: no cluster, no other worker."""
    from conftest import Row

    took: Counter[str] = Counter()
    days: Counter[str] = Counter()
    bands: set[str] = set()

    def in_turn(function, work, *, title):
        def timed(**arguments):
            days[function.__name__] += len(arguments.get("days", ()))
            if "watching" in arguments:
                bands.update(arguments["watching"].how.bands)
            started = time.process_time()
            result = function(**arguments)
            took[function.__name__] += time.process_time() - started
            return result

        return execution.run_tasks(None, timed, work, title=title)

    with on_cores(1):
        pipeline.run(job(archive, 1, "evening"), tmp_path / "out", run_tasks=in_turn)
        state, storing, stored = store_again(tmp_path)
    pixels = SIDE**2
    clear = float(state["n_history"].mean())
    read = pixels * sum(1 if band == "scl" else 2 for band in bands)
    reading = took["read_history"] / days["read_history"]
    fits = took["survey_history"] + took["fit_history"] - storing
    fed = took["read_new"] + took["update_monitor"] - 3 * storing - days["read_new"] * reading
    rates = {
        "READ_BYTES": f"{read / reading / 1e6:.0f}e6",
        "FIT_PIXELS": f"{2 * pixels * (0.25 + 0.75 * clear / 75) / fits / 1e6:.3f}e6",
        "UPDATE_PIXELS": f"{days['read_new'] * pixels / fed / 1e6:.0f}e6" if fed > 0 else "lost",
        "STATE_BYTES_PER_SECOND": f"{state.nbytes / storing / 1e6:.0f}e6",
        "STORED_SHARE": f"{stored / state.nbytes:.2f}",
    }
    told = ", ".join(f"{name} = {value}" for name, value in rates.items())
    table.append(
        Row(f"rates for pipeline/costs.py, {SIDE}² px, {clear:.0f} clear dates", 0.0, told)
    )


def store_again(folder: Path) -> tuple[xr.Dataset, float, int]:
    """Read the state of a run's only block and write it anew: mean seconds, and bytes on disk."""
    book = ledger.Ledger(folder / "out" / ".lesniva")
    ((key, seen),) = ledger.seen(book).items()
    empty = ledger.begin(folder / "again", identity={})
    started = time.perf_counter()
    state = ledger.read_block(book, key)
    ledger.write_block(empty, key, state, seen=seen)
    seconds = time.perf_counter() - started
    return state, seconds / 2, on_disk(empty.folder / "repo")


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


TOOK: dict[tuple[int, int], float] = {}
"""Blocks and workers → seconds of the first run."""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("blocks", list(LAYOUTS))
def test_first_run_and_a_night(benchmark, table, archive, tmp_path, blocks, workers):
    from conftest import Row

    out = tmp_path / "out"
    megapixels = blocks * SIDE**2 / 1e6

    def first_run() -> None:
        pipeline.run(job(archive, blocks, "evening"), out)

    with on_cores(workers):
        with Peak() as peak:
            benchmark.pedantic(first_run, rounds=1, warmup_rounds=0)
        seconds = TOOK[blocks, workers] = benchmark.stats.stats.max
        started = time.perf_counter()
        pipeline.run(job(archive, blocks, "night"), out)
        night = time.perf_counter() - started
    state = on_disk(out / ".lesniva" / "repo")
    benchmark.extra_info.update(peak_gb=peak.gigabytes, night_seconds=night, state_bytes=state)
    table.append(
        Row(
            f"forest, {blocks} × {SIDE}² px × 59 dates, {workers} worker{'s' * (workers > 1)}, "
            "a core each",
            seconds,
            f"{megapixels / seconds:.2f} Mpx/s; a night's scene {night:.0f} s; "
            f"{peak.gigabytes:.1f} GB; state {state / megapixels / 1e6:.0f} B/px",
            target="time linear in area, memory flat",
        )
    )
    shutil.rmtree(out)


def test_two_workers_beside_one(table):
    """What two more blocks take, so that what any run takes once does not count."""
    from conftest import Row

    if not TOOK.keys() >= {(blocks, workers) for blocks in (2, 4) for workers in (1, 2)}:
        pytest.skip("two and four blocks have not been timed with one worker and with two")
    one, two = ((TOOK[4, workers] - TOOK[2, workers]) / 2 for workers in (1, 2))
    fixed = [TOOK[2, workers] - 2 * each for workers, each in ((1, one), (2, two))]
    table.append(
        Row(
            f"forest, a further block of {SIDE}² px × 59 dates, two workers beside one",
            two,
            f"one worker {one:.1f} s; any run {fixed[0]:.0f} s with one, {fixed[1]:.0f} s with two",
            {"one worker": one / two},
            target="≥ 1.6 ×",
        )
    )


@pytest.mark.parametrize("name", ["lipetsk", "moscow-oblast", "yanao"])
def test_projection_for_a_region(benchmark, table, name):
    """The rates of `pipeline.costs`, which `lesniva plan` uses too, for blocks of whole regions."""
    from conftest import Row

    def work() -> costs.Work:
        area = aoi.load(HOME / "aoi" / f"{name}.geojson")
        grids = aoi.grids(area, resolution=20, block_size=512)
        blocks = [block for grid in grids for block in aoi.blocks(grid, block_size=512)]
        pixels = sum(int(np.prod(block.geobox.shape)) for block in blocks)
        return costs.Work(
            pixels=pixels,
            pixel_dates=pixels * PROJECTED_DATES,
            bytes_per_pixel=sum(1 if band == "scl" else 2 for band in (*LEVELS, "scl")),
            largest_block=512**2 * PROJECTED_DATES,
            block_pixels=512**2,
            winter=True,
        )

    whole = benchmark.pedantic(work, rounds=1)
    table.append(
        Row(
            f"projection: {name}, {whole.pixels / 1e6:.0f} Mpx of 20 m in blocks, "
            f"{PROJECTED_DATES} dates of history, eight bands in local files, 2 cores",
            0.0,
            "; ".join(
                line.strip() for line in planning.cost_lines(costs.forest(whole, cores=2), cores=2)
            ),
        )
    )
