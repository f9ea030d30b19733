"""What a run would do, and whether it could: no pixel is read here."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesniva import aoi, cube, sources, tasks, yields
from lesniva.config import (
    AnyPipeline,
    CatalogSource,
    CompositePipeline,
    FieldsPipeline,
    ForestPipeline,
    HarvestPipeline,
)
from lesniva.errors import InputError, LesnivaError
from lesniva.pipeline import costs, mirror
from lesniva.pipeline.place import Place, known, observing, place_of, watched
from lesniva.pipeline.telling import read_layers


def check(job: AnyPipeline) -> None:
    """Check the files that a pipeline file names; no network, no pixels.

    Raises
    ------
    InputError
        With all faults in one message.
    """
    faults = []
    try:
        place_of(job)
    except LesnivaError as error:
        faults.append(str(error))
    href = job.source.href if isinstance(job.source, CatalogSource) else ""
    if href and "://" not in href and not Path(href).exists():
        faults.append(f"source.href {href} is not there")
    for key, path in _further_files(job).items():
        if not path.exists():
            faults.append(f"{key} {path} is not there")
    if isinstance(job, ForestPipeline):
        try:
            read_layers(job)
        except LesnivaError as error:
            faults.append(str(error))
    if isinstance(job, HarvestPipeline):
        try:
            yields.read(job.harvest.yields)
        except LesnivaError as error:
            faults.append(str(error))
    if faults:
        raise InputError(f"{job.name}: {'; '.join(faults)}")


def _further_files(job: AnyPipeline) -> dict[str, Path]:
    if isinstance(job, ForestPipeline) and job.forest.cover is not None:
        return {"forest.cover": job.forest.cover}
    if isinstance(job, FieldsPipeline):
        return {"fields.file": job.fields.file}
    if isinstance(job, HarvestPipeline):
        sections = {
            "cropland": job.cropland,
            **{f"harvest.crops.{crop}": wanted for crop, wanted in job.harvest.crops.items()},
        }
        maps = {
            f"{key}.{name}": getattr(section, name)
            for key, section in sections.items()
            for name in ("mask", "parcels")
        }
        maps["weather.file"] = job.weather.file if job.weather is not None else None
        return {key: path for key, path in maps.items() if path is not None}
    return {}


def plan(job: AnyPipeline) -> list[str]:
    """Say what a run from the start would find and cost.

    Returns
    -------
    list of str
        Scenes, grids, blocks, bytes, and an estimate of memory, disk and time (`costs`).

    Raises
    ------
    LesnivaError
        As `run` would.
    """
    place = place_of(job)
    cost = mirror.estimate(job, place.area, place.grids)
    if cost is not None and cost.requests:
        return [
            f"{job.name}: {job.journey} of {place.area.name_en}",
            f"  to pull   {cost.requests} requests, {cost.units:.1f} processing units",
            "  the scenes, bytes and time are known once they are in the local archive",
        ]
    items = known(job, place)
    days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
    scenes = sum(len(day.scenes) for day in days)
    dropped = len(items) - scenes
    how = _observing(job, days, place)
    bands = tuple(dict.fromkeys(band for each in how for band in each.bands))
    reads = list(place.days_by_block(days))
    size = sum(_pixels(block) * len(over) for block, over in reads) * _bytes_per_pixel(bands)
    most = max((_pixels(block) * len(over) for block, over in reads), default=0)
    largest = max((_pixels(block) for block, _ in reads), default=0)
    cores = os.cpu_count() or 1
    left_out = f" ({dropped} superseded copies left out)" if dropped else ""
    if isinstance(job, ForestPipeline):
        told = cost_lines(costs.forest(_work(job, how[0], reads), cores=cores), cores=cores)
    else:
        hours = _duration(size / costs.READ_BYTES / cores / 3600)
        told = [
            f"  memory    about {costs.memory_gb(largest, most):.1f} GB a worker",
            f"  time      about {hours} on {cores} cores, first run, local files",
        ]
    return [
        f"{job.name}: {job.journey} of {place.area.name_en}",
        f"  scenes    {scenes} on {len(days)} days, {days[0].date} to {days[-1].date}{left_out}",
        *(_grid_line(place, grid) for grid in place.grids),
        f"  blocks    {len(place.blocks)} touch the area, scenes reach {len(reads)}",
        f"  bands     {', '.join(bands)}",
        f"  to read   {size / 1e9:.2f} GB of pixels once decoded",
        *told,
    ]


def cost_lines(cost: costs.Cost, *, cores: int) -> list[str]:
    """Say what a forest job takes."""
    disk = f"{cost.disk_gb:.1f} GB of state after a year of nights"
    more = f"{cost.transient_gb:.1f} GB more during the first run"
    first, night = _duration(cost.first_hours), _duration(cost.night_hours)
    return [
        f"  memory    about {cost.memory_gb:.1f} GB a worker",
        f"  disk      about {disk}; {more}",
        f"  time      about {first} for the history on {cores} cores, from local files",
        f"  a night   about {night} with a new scene everywhere (rates of {costs.MEASURED})",
    ]


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1.0 else f"{max(60 * hours, 0.1):.1f} min"


def _work(
    job: ForestPipeline,
    how: tasks.Observing,
    reads: Sequence[tuple[aoi.Block, list[cube.SolarDay]]],
) -> costs.Work:
    """Pixels and dates of the history of a forest job."""
    end = np.datetime64(job.monitor.history_end, "D")
    history = [
        (_pixels(block), sum(bool(day.date <= end) for day in over)) for block, over in reads
    ]
    return costs.Work(
        pixels=sum(pixels for pixels, _ in history),
        pixel_dates=sum(pixels * dates for pixels, dates in history),
        bytes_per_pixel=_bytes_per_pixel(how.bands),
        largest_block=max(
            (
                pixels * max(dates, len(over) - dates)
                for (pixels, dates), (_, over) in zip(history, reads, strict=True)
            ),
            default=0,
        ),
        block_pixels=max((pixels for pixels, _ in history), default=0),
        channels=1 if how.witness is None else 2,
        winter=job.monitor.season is None and {"green", "red"} <= set(how.bands),
        health=len(how.also),
    )


def _observing(
    job: AnyPipeline, days: list[cube.SolarDay], place: Place
) -> tuple[tasks.Observing, ...]:
    if isinstance(job, ForestPipeline):
        return (watched(job, days, place),)
    names = job.composite.index if isinstance(job, CompositePipeline) else ["ndvi"]
    return tuple(observing(name, days, place) for name in names)


def _bytes_per_pixel(bands: tuple[str, ...]) -> int:
    return sum(1 if band == "scl" else 2 for band in bands)


def _pixels(block: aoi.Block) -> int:
    height, width = block.geobox.shape
    return int(height * width)


def _grid_line(place: Place, grid: aoi.Grid) -> str:
    height, width = grid.geobox.shape
    mine = sum(block.grid_id == grid.id for block in place.blocks)
    return (
        f"  grid      {grid.id}: {width} × {height} pixels of {grid.resolution:g} m, {mine} blocks"
    )


def pull(job: AnyPipeline, *, max_gb: float | None = None) -> str:
    """Bring what a job needs into its local archive, and say what was done.

    Raises
    ------
    InputError
        The source has no local archive.
    LesnivaError
        As `mirror.pull`.
    """
    place = place_of(job)
    archive = mirror.archive_of(job, place.area, place.grids)
    if archive is None:
        raise InputError(
            f"{job.name}: the source has no local archive to pull into: name a folder as "
            "source.archive"
        )
    return mirror.in_words(archive, mirror.pull(job, place.area, place.grids, max_gb=max_gb))
