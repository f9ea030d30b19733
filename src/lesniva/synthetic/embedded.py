"""The two archives that travel with the toolkit: a forest and a farmland of Lipetsk oblast."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import geopandas as gpd
import numpy as np

from lesniva.conventions import NODATA_UINT8, SYNTHETIC_NOTICE
from lesniva.errors import InputError
from lesniva.storage import whole_file, write_text
from lesniva.synthetic.archive import CATALOG, Plan, fingerprint, reusable, write_archive, write_cog
from lesniva.synthetic.events import Cause, archive_plan
from lesniva.synthetic.farmland import Crop, Farmland, farm
from lesniva.synthetic.forest import (
    Truth,
    event_table,
    period,
    plant,
    public_tree_cover,
)
from lesniva.synthetic.landscape import Grid
from lesniva.synthetic.scenes import acquisitions
from lesniva.synthetic.season import LIPETSK, year_of
from lesniva.synthetic.spectra import BANDS

FOREST_GRID: Final = Grid(32637, 545760, 5817000, 10, 1024, 1024)
"""10.24 × 10.24 km near 39.75 E 52.45 N, on the 60 m raster of the Sentinel-2 tiles."""


FOREST_SCENES: Final = {1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 4, 8: 4, 9: 4, 10: 3, 11: 2, 12: 1}
"""Acquisitions to keep by month; those of winter see snow."""

FARMLAND_GRID: Final = Grid(32637, 504000, 5892000, 120, 800, 800)
"""96 × 96 km from 39.06 E 53.18 N to the south-east, within one Sentinel-2 tile."""

FARMLAND_BANDS: Final = ("red", "nir", "nir08", "swir16", "swir22")

FARMLAND_SCENES: Final = {4: 2, 5: 3, 6: 3, 7: 2, 8: 2, 9: 2, 10: 2, 11: 1}
"""Acquisitions to keep by month: dense while the crops grow."""


def write_forest_archive(
    folder: Path,
    *,
    seed: int = 52,
    start: str = "2020-01-01",
    end: str = "2023-12-31",
    size: int = 1024,
    scenes_per_month: dict[int, int] | None = None,
    bands: tuple[str, ...] = BANDS,
    workers: int | None = None,
) -> Path:
    """Write the embedded forest archive, or what is missing of it.

    Pine and mixed forest with fields, a river and villages; 10 m and 20 m bands; four seasons, the
    first two with a few events only, the last two with many. Beside the scenes:
    ``forest_cover.tif`` (tree cover density, %, with the small errors of a public product),
    ``truth/events.gpkg``, ``truth/truth.tif`` (bands ``day_number`` and ``cause``, 20 m) and
    ``truth/README.txt``.

    Parameters
    ----------
    folder
        Where to; made if need be. A whole archive of the same parameters is reused.
    seed
        Everything follows from it.
    start, end
        First and last day; events begin in the third year.
    size
        Pixels of 10 m along each side, even.
    scenes_per_month
        How many acquisitions to keep by month (1…12); without it 35 a year.
    bands
        Bands to write, besides ``scl``.
    workers
        Threads; without it one more than there are cores.

    Returns
    -------
    Path
        ``catalog.json``.

    Raises
    ------
    InputError
        When the dates are the wrong way round or span less than three years.
    EnvironmentFaultError
        When a file cannot be written; what is whole stays for the next call.
    """
    monthly = scenes_per_month or FOREST_SCENES
    print_ = fingerprint(
        kind="forest",
        seed=seed,
        start=start,
        end=end,
        size=size,
        scenes_per_month=sorted(monthly.items()),
        bands=bands,
    )
    if reusable(folder, print_):
        return folder / CATALOG
    first, last = period(start, end)
    year, final = year_of(first), year_of(last)
    if final < year + 2:
        raise InputError(
            f"a forest archive from {start} to {end} was asked for; two years of history and one "
            "of events are needed: end it later"
        )
    grid = Grid(FOREST_GRID.epsg, FOREST_GRID.left, FOREST_GRID.top, 10, size, size)
    land, truth = plant(
        seed=seed,
        grid=grid,
        start=first,
        end=last,
        climate=LIPETSK,
        forest_share=0.62,
        settled=True,
        plan=archive_plan(seed, years=range(year + 2, final + 1), history=range(year, year + 2)),
    )
    plan = Plan(
        title="Forest near Lipetsk",
        seed=seed,
        latitude=LIPETSK.latitude,
        bands=bands,
        land=land,
        acquisitions=acquisitions(
            seed=seed,
            start=first,
            end=last,
            latitude=LIPETSK.latitude,
            orbits=(79, 122),
            keep_per_month=monthly,
        ),
        fingerprint=print_,
        extras={
            "forest_cover.tif": partial(_write_tree_cover, truth=truth, seed=seed),
            "truth/truth.tif": partial(_write_truth, truth=truth),
            "truth/events.gpkg": partial(_write_events, truth=truth),
            "truth/README.txt": partial(_write_forest_readme, truth=truth),
        },
    )
    return write_archive(folder, plan, workers=workers or _threads())


def write_farmland_archive(
    folder: Path,
    districts: gpd.GeoDataFrame,
    *,
    seed: int = 52,
    first_year: int = 2017,
    last_year: int = 2026,
    last_scene: str = "2026-06-30",
    size: int = 800,
    scenes_per_month: dict[int, int] | None = None,
    bands: tuple[str, ...] = FARMLAND_BANDS,
    workers: int | None = None,
) -> Path:
    """Write the embedded farmland archive, or what is missing of it.

    96 × 96 km in the east of Lipetsk oblast, ``red`` and ``nir`` in pixels of 120 m, the rest in
    240 m. Scenes from September before the first harvest year on. Beside them: ``yields.csv`` (to
    the year before the last), ``weather.csv`` (to the last scene),
    ``truth/yields_<last year>.csv``, ``truth/crop_map_<year>.tif`` and ``truth/README.txt``.

    Parameters
    ----------
    folder
        Where to; made if need be. A whole archive of the same parameters is reused.
    districts
        ``adm_id`` and geometry, any CRS; those that touch the area are used.
    seed
        Everything follows from it.
    first_year, last_year
        Harvest years; the last one is the season that is going on.
    last_scene
        Day after which nothing is seen.
    size
        Pixels of 120 m along each side, even.
    scenes_per_month
        How many acquisitions to keep by month (1…12); without it 17 a season.
    bands
        Bands to write, besides ``scl``.
    workers
        Threads; without it one more than there are cores.

    Returns
    -------
    Path
        ``catalog.json``.

    Raises
    ------
    InputError
        When `districts` lacks ``adm_id`` or a CRS, or none touches the area.
    EnvironmentFaultError
        When a file cannot be written; what is whole stays for the next call.
    """
    monthly = scenes_per_month or FARMLAND_SCENES
    outline = hashlib.sha256(b"".join(districts.geometry.to_wkb())).hexdigest()
    print_ = fingerprint(
        kind="farmland",
        seed=seed,
        years=[first_year, last_year],
        last_scene=last_scene,
        size=size,
        scenes_per_month=sorted(monthly.items()),
        bands=bands,
        districts=[outline, *map(str, districts.get("adm_id", []))],
    )
    if reusable(folder, print_):
        return folder / CATALOG
    last = np.datetime64(last_scene, "D")
    grid = Grid(FARMLAND_GRID.epsg, FARMLAND_GRID.left, FARMLAND_GRID.top, 120, size, size)
    truth = farm(districts, seed=seed, grid=grid, first_year=first_year, last_year=last_year)
    extras: dict[str, Callable[[Path], None]] = {
        "yields.csv": partial(_write_yields, truth=truth, years=(first_year, last_year - 1)),
        "weather.csv": partial(_write_weather, truth=truth, last=last),
        f"truth/yields_{last_year}.csv": partial(
            _write_yields, truth=truth, years=(last_year, last_year)
        ),
        "truth/README.txt": partial(_write_farmland_readme, truth=truth),
    }
    for year in range(first_year, last_year + 1):
        extras[f"truth/crop_map_{year}.tif"] = partial(_write_crop_map, truth=truth, year=year)
    plan = Plan(
        title="Farmland of Lipetsk oblast",
        seed=seed,
        latitude=LIPETSK.latitude,
        bands=bands,
        land=truth.land,
        acquisitions=acquisitions(
            seed=seed,
            start=np.datetime64(f"{first_year - 1}-09-01"),
            end=last,
            latitude=LIPETSK.latitude,
            orbits=(79, 122),
            keep_per_month=monthly,
        ),
        fingerprint=print_,
        extras=extras,
    )
    return write_archive(folder, plan, workers=workers or _threads())


def _threads() -> int:
    """One more than there are cores: one of them waits for the disk."""
    return (os.cpu_count() or 1) + 1


def _write_tree_cover(path: Path, *, truth: Truth, seed: int) -> None:
    density = public_tree_cover(truth, seed=seed)[np.newaxis]
    names = ["tree_cover_density_percent"]
    write_cog(path, density, truth.grid, nodata=NODATA_UINT8, average=True, names=names)


def _write_truth(path: Path, *, truth: Truth) -> None:
    layers = np.stack([truth.day, truth.cause.astype(np.uint16)])
    names = ["day_number", "cause"]
    write_cog(path, layers, truth.grid, nodata=None, average=False, names=names)


def _write_events(path: Path, *, truth: Truth) -> None:
    from pyogrio import set_gdal_config_options

    # GeoPackage stores the time of writing; a fixed one keeps the bytes the same from run to run.
    set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})
    try:
        with whole_file(path) as temporary:
            event_table(truth).to_file(temporary, layer="events", driver="GPKG")
    finally:
        set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _write_forest_readme(path: Path, *, truth: Truth) -> None:
    causes = ", ".join(f"{cause.value} {cause.name.lower()}" for cause in Cause)
    write_text(
        path,
        f"""{SYNTHETIC_NOTICE}.

What is known of the forest archive ({int(truth.event.max())} events).
truth.tif     20 m, EPSG:{truth.grid.epsg}. Band 1: day of the disturbance, days since 2015-01-01,
              0 = undisturbed. Band 2: cause: {causes}.
events.gpkg   the same as polygons: event_id, cause, date_start and date_end (first and last pixel),
              area_ha. Polygons follow the edges of the 20 m pixels.
Dieback takes about ten weeks from the day given to the end; everything else happens on that day.
../forest_cover.tif is what a user would have: tree cover density in %, before the events, with
small errors.
""",
    )


def _write_yields(path: Path, *, truth: Farmland, years: tuple[int, int]) -> None:
    table = truth.yields[truth.yields["year"].between(*years)]
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _write_weather(path: Path, *, truth: Farmland, last: np.datetime64) -> None:
    write_text(path, truth.weather_table(last).to_csv(index=False, lineterminator="\n"))


def _write_crop_map(path: Path, *, truth: Farmland, year: int) -> None:
    layers = truth.crop_map(year)[np.newaxis]
    write_cog(path, layers, truth.land.grid, nodata=0, average=False, names=["crop"])


def _write_farmland_readme(path: Path, *, truth: Farmland) -> None:
    crops = ", ".join(f"{crop.value} {crop.name.lower()}" for crop in Crop)
    districts = ", ".join(sorted(set(truth.yields["adm_id"])))
    write_text(
        path,
        f"""{SYNTHETIC_NOTICE}.

What is known of the farmland archive.
crop_map_<year>.tif   120 m, EPSG:{truth.land.grid.epsg}; crop of the harvest year: {crops}.
yields_<year>.csv     yields of the season that is going on in ../yields.csv and ../weather.csv.
Districts with statistics: {districts}.
area_ha counts the fields inside the picture only.
""",
    )
