"""Forests whose stands, seasons and disturbances are known.

Stands of pine, spruce, birch and oak between glades, fields, a river and villages; leaves that come
and fall with the weather of each year; snow on the ground and on the branches; and events:
clear-cuts, thinnings, dieback, windthrow, fire. Events are mapped on 20 m pixels and their polygons
follow those pixels' edges, so that the map and the polygons of the truth are one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from lesniva.conventions import EQUAL_AREA_CRS, from_day_number
from lesniva.errors import InputError
from lesniva.synthetic.events import (
    EVENT_PIXEL_M,
    Cause,
    PlannedEvent,
    ages,
    balanced_plan,
    place,
    progress,
)
from lesniva.synthetic.landscape import (
    Bytes,
    Grid,
    Land,
    Maps,
    Surface,
    discs,
    parcels,
    river_distance,
    smooth_field,
    stands,
    to_bytes,
)
from lesniva.synthetic.scenes import Acquisition, Scene, acquisitions, draw, sun
from lesniva.synthetic.season import (
    DAY,
    TAIGA,
    Climate,
    Weather,
    day_of_year,
    degree_days,
    logistic,
    simulate_weather,
    year_of,
)
from lesniva.synthetic.spectra import (
    AUTUMN_LEAF,
    BROADLEAF,
    BUILT,
    CHAR,
    CHERNOZEM,
    CONIFER,
    CROP,
    DEAD_CONIFER,
    GRASS,
    LEAFLESS,
    SAND,
    SLASH,
    SNOW,
    STRAW,
    WATER,
    Floats,
    as_floats,
    mix,
)

GREEN_UP_DEGREE_DAYS: Final = 95.0
"""Warmth above 5 °C since 1 March at which birches open their leaves, °C·day."""

LEAF_OUT_DAYS: Final = 3.5
LEAF_FALL_DAYS: Final = 4.5
"""Time constants of the logistic curves of leaves coming and falling, days."""

SHADED_SNOW: Final = 0.6
"""Brightness of snow under trees relative to open snow."""

LEAF_FALL_DAY: Final = 280
"""Mean day of the year at which half of the leaves are down (7 October)."""


class Cover(IntEnum):
    """What a unit of the landscape is."""

    PINE = 0
    SPRUCE = 1
    MIXED = 2
    BIRCH = 3
    OAK = 4
    YOUNG = 5
    MEADOW = 6
    ARABLE = 7
    WATER = 8
    VILLAGE = 9


CONIFER_SHARE: Final = np.array([0.95, 0.93, 0.52, 0.06, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0])
CLOSURE: Final = np.array([0.82, 0.88, 0.86, 0.86, 0.90, 0.55, 0.04, 0.5, 0.5, 0.45])
LEAF_SHIFT_DAYS: Final = np.array([0.0, 0.0, 1.0, 0.0, 8.0, 1.0, -8.0, 0.0, 0.0, 2.0])
"""By `Cover`: share of conifers, canopy closure, days the leaves come later than the birches'."""


@dataclass(frozen=True)
class Truth:
    """What is known of a simulated forest; maps are (y, x) on `grid` (20 m)."""

    grid: Grid
    day: npt.NDArray[np.uint16]
    """Day number of the disturbance, 0 = undisturbed."""
    cause: Bytes
    """`Cause`."""
    event: npt.NDArray[np.uint16]
    """Number of the event, 0 = none."""
    severity: Bytes
    """Share of the canopy that goes, 255 = all."""
    cover: Bytes
    """`Cover`."""
    tree_cover: Bytes
    """Tree cover density before any event, %, without error."""
    weather: Weather
    """The daily weather that was played, one place."""
    green_up: dict[int, np.datetime64]
    """Date by year at which birches open their leaves."""

    @property
    def forest(self) -> npt.NDArray[np.bool_]:
        """Pixels that were forest at the beginning."""
        return np.asarray(self.cover <= Cover.YOUNG)


@dataclass(frozen=True)
class _Season:
    """Leaves by year."""

    green_up: dict[int, np.datetime64]
    leaf_fall: dict[int, np.datetime64]


@dataclass(frozen=True)
class _Units:
    """One row for each unit of the landscape."""

    cover: npt.NDArray[np.int64]
    conifer: Floats
    shift: Floats
    """Days the leaves come later."""
    soil: Floats
    """Share of sand in open soil."""
    crops: npt.NDArray[np.int64]
    """Kind of crop by (unit, year - first year): 0 winter, 1 spring, 2 late, 3 fallow."""
    first_year: int


def simulate_forest(
    *,
    seed: int,
    shape: tuple[int, int] = (96, 96),
    start: str = "2019-01-01",
    end: str = "2022-12-31",
    events_from: str = "2021-01-01",
    disturbed_share: float = 0.12,
    causes: tuple[Cause, ...] = tuple(Cause)[1:],
    forest_share: float = 0.9,
    climate: Climate = TAIGA,
) -> tuple[Iterator[Scene], Truth]:
    """Play a forest on 20 m pixels in memory, for tests of the change method.

    About 34 clear observations a pixel and year, with and without snow, leaves that come a week
    earlier or later from year to year, haze that the classification misses, noise of whole scenes.

    Parameters
    ----------
    seed
        Everything follows from it.
    shape
        Rows and columns of 20 m.
    start, end
        First and last day.
    events_from
        First day of events; before it the forest is undisturbed.
    disturbed_share
        Share of the forest's pixels to be disturbed.
    causes
        Kinds of events, equally frequent.
    forest_share
        Share of the ground under forest.
    climate
        `TAIGA` (60 N) or `LIPETSK`.

    Returns
    -------
    scenes : iterator of Scene
        Drawn when asked for, rising in time; every band on the 20 m grid. See `scenes.stack`.
    truth : Truth
        Dates and causes by pixel.

    Raises
    ------
    InputError
        When the dates are the wrong way round or the ground is smaller than 32 × 32 pixels.
    """
    first, last = period(start, end)
    if min(shape) < 32:
        raise InputError(f"a forest of {shape} pixels was asked for; at least (32, 32) are needed")
    grid = Grid(32637, 540000, 5820000, EVENT_PIXEL_M, *shape)
    ground_ha = shape[0] * shape[1] * EVENT_PIXEL_M**2 / 10_000
    plan = balanced_plan(
        seed,
        wanted_ha=disturbed_share * forest_share * ground_ha,
        largest_ha=0.03 * ground_ha,
        causes=causes,
        first=np.datetime64(events_from, "D"),
        last=last - 45 * DAY,
    )
    land, truth = plant(
        seed=seed,
        grid=grid,
        start=first,
        end=last,
        climate=climate,
        forest_share=forest_share,
        settled=False,
        plan=plan,
    )
    passes = acquisitions(
        seed=seed, start=first, end=last, latitude=climate.latitude, orbits=(79, 122), edge_share=0
    )
    return _draw_all(land, passes, seed, climate), truth


def _draw_all(
    land: Land, passes: list[Acquisition], seed: int, climate: Climate
) -> Iterator[Scene]:
    for acquisition in passes:
        yield draw(land, acquisition, seed=seed, latitude=climate.latitude)


def period(start: str, end: str) -> tuple[np.datetime64, np.datetime64]:
    """First and last day of a simulation.

    Raises
    ------
    InputError
        When they are no dates, or the wrong way round.
    """
    try:
        first, last = np.datetime64(start, "D"), np.datetime64(end, "D")
    except ValueError as error:
        raise InputError(
            f"a simulation from {start!r} to {end!r} was asked for; write dates as 2020-01-31"
        ) from error
    if first >= last:
        raise InputError(
            f"a simulation from {start} to {end} was asked for; put the earlier date first"
        )
    return first, last


def plant(
    *,
    seed: int,
    grid: Grid,
    start: np.datetime64,
    end: np.datetime64,
    climate: Climate,
    forest_share: float,
    settled: bool,
    plan: list[PlannedEvent],
) -> tuple[Land, Truth]:
    """Make a forest landscape and place the events in it.

    Parameters
    ----------
    seed
        Everything follows from it.
    grid
        Pixels of 10 or 20 m.
    start, end
        First and last day of the weather.
    climate
        Long-term means.
    forest_share
        Share of the ground under forest.
    settled
        With fields, a river, villages and rides; else only glades break the forest.
    plan
        Events, placed in this order; one that finds no room is left out.

    Returns
    -------
    land : Land
        For the renderer.
    truth : Truth
        On 20 m pixels.
    """
    weather = simulate_weather(
        climate,
        rng=np.random.default_rng([seed, 1]),
        start=start.astype("datetime64[Y]").astype("datetime64[D]"),
        end=end,
    )
    season = _season(weather, np.random.default_rng([seed, 2]))
    units, table, cover, weight = _compose(seed, grid, forest_share, settled, weather)
    factor = EVENT_PIXEL_M // grid.resolution
    cover_20 = cover[::factor, ::factor]
    event_map = place(
        np.random.default_rng([seed, 4]),
        plan,
        forest=cover_20 <= Cover.YOUNG,
        conifers=(cover_20 <= Cover.YOUNG) & (cover_20 != Cover.BIRCH) & (cover_20 != Cover.OAK),
    )
    light_rng = np.random.default_rng([seed, 5])
    light = 16 * smooth_field(light_rng, grid.shape, scale=12, roughness=2.2)
    enlarge = np.ones((factor, factor), dtype=np.uint8)
    maps = Maps(
        units=units,
        weight=weight,
        light=np.clip(light, -100, 100).astype(np.int8),
        cause=np.kron(event_map.cause, enlarge),
        severity=np.kron(event_map.severity, enlarge),
        event_day=np.kron(event_map.day, enlarge.astype(np.uint16)),
    )
    age_days = ages(start, end)
    land = Land(
        grid=grid,
        fine=maps,
        coarse=maps.halved() if factor == 2 else maps,
        progress=progress(age_days),
        surface=lambda date: _surface(date, table, weather, season, climate, age_days),
        fine_noise=0.009 if factor == 2 else 0.016,
        coarse_noise=0.016,
    )
    rows, columns = grid.height // factor, grid.width // factor
    canopy = np.where(cover <= Cover.YOUNG, weight, np.minimum(weight, 20))
    canopy[(cover == Cover.ARABLE) | (cover == Cover.WATER)] = 0
    density = canopy.reshape(rows, factor, columns, factor).mean(axis=(1, 3)) / 255
    truth = Truth(
        grid=grid.coarser(factor),
        day=event_map.day,
        cause=event_map.cause,
        event=event_map.event,
        severity=event_map.severity,
        cover=cover_20.astype(np.uint8),
        tree_cover=np.round(100 * density).astype(np.uint8),
        weather=weather,
        green_up=season.green_up,
    )
    return land, truth


def event_table(truth: Truth) -> gpd.GeoDataFrame:
    """Events as polygons.

    Returns
    -------
    GeoDataFrame
        ``event_id``, ``cause`` (name in lower case), ``date_start``, ``date_end`` (first and last
        pixel), ``area_ha`` (equal-area), geometry in the grid's CRS.
    """
    from rasterio.features import shapes
    from rasterio.transform import Affine
    from shapely.geometry import shape
    from shapely.ops import unary_union

    pieces: dict[int, list[Any]] = {}
    transform = Affine(*truth.grid.transform)
    for geometry, number in shapes(truth.event, mask=truth.event > 0, transform=transform):
        pieces.setdefault(int(number), []).append(shape(geometry))
    rows = []
    for number in sorted(pieces):
        inside = truth.event == number
        days = from_day_number(truth.day[inside])
        rows.append(
            {
                "event_id": number,
                "cause": Cause(int(truth.cause[inside][0])).name.lower(),
                "date_start": str(days.min()),
                "date_end": str(days.max()),
                "geometry": unary_union(pieces[number]),
            }
        )
    columns = ["event_id", "cause", "date_start", "date_end", "geometry"]
    table = gpd.GeoDataFrame(rows, columns=columns, crs=f"EPSG:{truth.grid.epsg}")
    table.insert(4, "area_ha", (table.to_crs(EQUAL_AREA_CRS).area / 10_000).round(3))
    return table


def public_tree_cover(truth: Truth, *, seed: int) -> Bytes:
    """Tree cover density (%, uint8) as a public product has it: smoothed, with small errors."""
    from scipy.ndimage import uniform_filter

    rng = np.random.default_rng([seed, 6])
    smooth = uniform_filter(truth.tree_cover.astype(np.float32), 2)
    error = 4 * smooth_field(rng, truth.grid.shape, scale=30, roughness=2.0)
    error += 2 * rng.standard_normal(truth.grid.shape, dtype=np.float32)
    density = np.where(smooth > 3, smooth + error, smooth)
    return np.asarray(np.clip(np.round(density), 0, 100), dtype=np.uint8)


# --- The ground -----------------------------------------------------------------------------------


def _compose(
    seed: int, grid: Grid, forest_share: float, settled: bool, weather: Weather
) -> tuple[npt.NDArray[np.uint16], _Units, npt.NDArray[np.int64], Bytes]:
    """Units, their table, the cover and the canopy share of each pixel."""
    rng = np.random.default_rng([seed, 0])
    shape, metre = grid.shape, 1 / grid.resolution
    patches = stands(rng, shape, size=330 * metre, warp=40 * metre)
    sandy = smooth_field(rng, shape, scale=3000 * metre)
    count = int(patches.max()) + 1
    dryness = _mean_by(patches, sandy, count) + rng.normal(0, 0.7, count)
    kind = _forest_kind(rng, dryness)
    kind[rng.random(count) < 0.04] = Cover.MEADOW
    cover = kind[patches]
    units = patches
    wooded = smooth_field(rng, shape, scale=4500 * metre, roughness=3.2)
    if settled:
        fields = parcels(rng, shape, block=1900 * metre, length=900 * metre, width=420 * metre)
        water = river_distance(
            rng,
            shape,
            start=0.62 * shape[1],
            drift=-0.25 * shape[1],
            meander=0.045 * shape[1],
        )
        flood = water < (260 + 120 * smooth_field(rng, shape, scale=1200 * metre)) * metre
        houses = discs(rng, shape, count=4, radius=(140 * metre, 330 * metre))
        ponds = discs(rng, shape, count=4, radius=(50 * metre, 120 * metre))
        open_land = wooded < np.quantile(wooded, 1 - forest_share - 0.04)
        cover = np.where(open_land, Cover.ARABLE, cover)
        cover = np.where(flood & (wooded < 0.9), Cover.MEADOW, cover)
        cover = np.where(houses & (wooded < 0.4), Cover.VILLAGE, cover)
        cover = np.where(ponds | (water < 28 * metre), Cover.WATER, cover)
        units = np.where(cover == Cover.ARABLE, count + fields, patches)
    else:
        cover = np.where(wooded < np.quantile(wooded, 1 - forest_share), Cover.MEADOW, cover)
    key = units * 16 + cover
    names, inverse = np.unique(key, return_inverse=True)
    unit_map = inverse.reshape(shape).astype(np.uint16)
    table = _tabulate(rng, names % 16, weather)
    weight = _canopy(rng, grid, unit_map, table.cover, settled)
    return unit_map, table, np.asarray(cover, dtype=np.int64), weight


def _forest_kind(rng: np.random.Generator, dryness: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Pine on dry sand, spruce and broadleaf on moist ground, mixed between, some young."""
    dry = np.asarray(dryness)
    chance = rng.random(dry.size)
    moist = np.select(
        [chance < 0.30, chance < 0.62, chance < 0.85], [Cover.SPRUCE, Cover.BIRCH, Cover.OAK]
    )
    moist = np.where(chance >= 0.85, Cover.MIXED, moist)
    middle = np.select([chance < 0.5, chance < 0.8], [Cover.MIXED, Cover.PINE], Cover.BIRCH)
    kind = np.select([dry > 0.1, dry > -0.7], [np.full(dry.size, Cover.PINE), middle], moist)
    return np.asarray(np.where(rng.random(dry.size) < 0.05, Cover.YOUNG, kind), dtype=np.int64)


def _tabulate(rng: np.random.Generator, cover: npt.NDArray[np.int64], weather: Weather) -> _Units:
    size = cover.size
    conifer = np.clip(CONIFER_SHARE[cover] + rng.normal(0, 0.06, size), 0, 1)
    first, last = weather.days[[0, -1]].astype("datetime64[Y]").astype(np.int64) + 1970
    return _Units(
        cover=cover,
        conifer=np.where(CONIFER_SHARE[cover] > 0, conifer, 0).astype(np.float32),
        shift=(LEAF_SHIFT_DAYS[cover] + rng.normal(0, 2.2, size)).astype(np.float32),
        soil=rng.uniform(0.0, 0.5, size).astype(np.float32),
        crops=rng.choice(4, size=(size, last - first + 1), p=[0.36, 0.28, 0.26, 0.10]),
        first_year=int(first),
    )


def _canopy(
    rng: np.random.Generator,
    grid: Grid,
    units: npt.NDArray[np.uint16],
    cover: npt.NDArray[np.int64],
    settled: bool,
) -> Bytes:
    """Share of the upper spectrum in each pixel: closure of the stand plus gaps and clumps."""
    metre = 1 / grid.resolution
    closure = np.clip(CLOSURE[cover] + rng.normal(0, 0.05, cover.size), 0, 1)
    share = closure[units] + 0.07 * smooth_field(rng, grid.shape, scale=120 * metre, roughness=2.8)
    if settled:
        forest = (cover <= Cover.YOUNG)[units]
        rides = np.zeros(grid.shape, dtype=bool)
        rides[:: round(1000 * metre), :] = True
        rides[:, round(300 * metre) :: round(500 * metre)] = True
        share = np.where(rides & forest, 0.35, share)
    return to_bytes(share)


def _mean_by(groups: npt.NDArray[np.int64], values: Floats, count: int) -> npt.NDArray[np.float64]:
    total = np.bincount(groups.ravel(), weights=values.ravel(), minlength=count)
    return np.asarray(total / np.maximum(np.bincount(groups.ravel(), minlength=count), 1))


# --- The season -----------------------------------------------------------------------------------


def _season(weather: Weather, rng: np.random.Generator) -> _Season:
    """Dates of leaf-out and leaf-fall; a cold September brings the leaves down earlier."""
    warmth = degree_days(weather, base_c=5.0, month=3)[0]
    doy = day_of_year(weather.days)
    years = weather.days.astype("datetime64[Y]").astype(np.int64) + 1970
    green_up, leaf_fall = {}, {}
    for year in np.unique(years):
        first = np.datetime64(f"{year}-01-01")
        warm = np.flatnonzero((years == year) & (warmth > GREEN_UP_DEGREE_DAYS))
        green_up[int(year)] = weather.days[warm[0]] if warm.size else first + 130 * DAY
        september = (years == year) & (doy > 244) & (doy < 274)
        cold = 12.0 - float(weather.t2m_c[0, september].mean()) if september.any() else 0.0
        shift = float(np.clip(-1.5 * cold, -8, 8)) + float(rng.normal(0, 3))
        leaf_fall[int(year)] = first + round(LEAF_FALL_DAY + shift) * DAY
    return _Season(green_up, leaf_fall)


def _surface(
    date: np.datetime64,
    units: _Units,
    weather: Weather,
    season: _Season,
    climate: Climate,
    age_days: Floats,
) -> Surface:
    """Spectra of all units on a date."""
    snow = float(weather.snow_cover(date)[0])
    branches = float(weather.fresh_snow[0, weather.at(date)])
    supply = float(weather.water[0, weather.at(date)])
    leaf, autumn = _leaves(date, season, units.shift)
    grass = _grass(date, season, supply)
    floor = mix(0.55 * grass, GRASS, LEAFLESS)
    # Snow between trees lies in their shade.
    floor = mix(snow, SHADED_SNOW * SNOW, floor)
    elevation = np.deg2rad(sun(date, climate.latitude)[0])
    # A low sun leaves more of a rough canopy in its own shade.
    lit = np.float32(0.86 + 0.14 * np.sin(elevation) / np.sin(np.deg2rad(60)))

    needles = mix(0.18 * branches, SNOW, CONIFER * (0.94 + 0.06 * grass))
    dry_leaf = mix(np.clip(autumn + 0.15 * (1 - supply), 0, 1), AUTUMN_LEAF, BROADLEAF)
    twigs = mix(0.25 * branches, SNOW, mix(0.55, LEAFLESS, floor))
    broad = mix(leaf, dry_leaf, twigs)
    canopy = mix(units.conifer, needles, broad) * lit

    meadow = mix(snow, SNOW, mix(grass, GRASS, STRAW))
    upper = as_floats(np.where((units.cover <= Cover.YOUNG)[:, np.newaxis], canopy, meadow))
    lower = np.broadcast_to(floor, upper.shape).copy()
    lower[units.cover == Cover.MEADOW] = mix(snow, SNOW, mix(0.85 * grass, GRASS, STRAW))
    fields = units.cover == Cover.ARABLE
    upper[fields], lower[fields] = _field(date, units, season, snow, fields)
    water = units.cover == Cover.WATER
    ice = snow if snow > 0.6 else 0.0
    upper[water] = lower[water] = mix(0.9 * ice, SNOW, WATER)
    village = units.cover == Cover.VILLAGE
    upper[village] = mix(0.8 * leaf[village] if village.any() else leaf[village], GRASS, LEAFLESS)
    lower[village] = mix(0.55 * snow, SNOW, BUILT)
    after = _after(grass, snow, floor, lit, age_days)
    return Surface(upper, lower, after, water & (ice == 0))


def _leaves(date: np.datetime64, season: _Season, shift: Floats) -> tuple[Floats, Floats]:
    """Share of leaves out and share of them turned, by unit."""
    year = year_of(date)
    since_out = float((date - season.green_up[year]) / DAY) - shift
    since_fall = float((date - season.leaf_fall[year]) / DAY) + 0.4 * shift
    leaf = logistic(since_out / LEAF_OUT_DAYS) * logistic(-since_fall / LEAF_FALL_DAYS)
    return leaf, logistic((since_fall + 11) / 5)


def _grass(date: np.datetime64, season: _Season, supply: float) -> float:
    """Greenness of open ground 0…1: earlier than the leaves, browner in drought."""
    year = year_of(date)
    since_out = float((date - season.green_up[year]) / DAY) + 8
    since_fall = float((date - season.leaf_fall[year]) / DAY) - 14
    green = logistic(since_out / 6) * logistic(-since_fall / 8)
    return float(0.15 + 0.85 * green * (0.55 + 0.45 * supply))


FIELD_DAYS: Final = np.array([[2.0, 72.0], [26.0, 92.0], [48.0, 132.0], [35.0, 400.0]])
"""Days after the green-up at which a field is half covered and half ripe: winter, spring, late
crops, fallow."""


def _field(
    date: np.datetime64,
    units: _Units,
    season: _Season,
    snow: float,
    fields: npt.NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Denser and thinner parts of the fields: soil, crop, straw after it ripens, snow."""
    year = year_of(date)
    crop = units.crops[fields, year - units.first_year]
    since = float((date - season.green_up[year]) / DAY) - 0.5 * units.shift[fields]
    growth = logistic((since - FIELD_DAYS[crop, 0]) / 7)
    ripe = logistic((since - FIELD_DAYS[crop, 1]) / 5)
    ploughed = logistic((since - FIELD_DAYS[crop, 1] - 30) / 4)
    top = np.where(crop == 3, 0.25, 0.92)
    young = np.where(crop == 0, 0.3, 0.02)
    cover = np.maximum(young, top * growth)
    soil = mix(units.soil[fields], SAND, CHERNOZEM)
    bare = mix(0.7 * ripe * (1 - ploughed), STRAW, soil)
    spectra = []
    for density in (1.05, 0.8):
        green = np.clip(density * cover * (1 - ripe), 0, 1)
        straw = np.clip(density * cover * ripe * (1 - ploughed), 0, 1)
        spectra.append(mix(snow, SNOW, mix(green, CROP, mix(straw, STRAW, bare))))
    return spectra[0], spectra[1]


def _after(grass: float, snow: float, floor: Floats, lit: np.float32, age_days: Floats) -> Floats:
    """Reflectance of disturbed ground, (cause, age, band): herbs come back in the years after."""
    herbs = np.clip(0.10 + 0.22 * age_days / 365, 0, 0.55) * grass
    cleared = mix(herbs, GRASS, SLASH)
    charred = mix(np.exp(-age_days / 220), CHAR, mix(1.6 * herbs, GRASS, SLASH))
    grey = mix(0.75, DEAD_CONIFER, floor) * lit
    fallen = mix(0.45, mix(0.2, CONIFER, DEAD_CONIFER), mix(herbs, GRASS, SLASH))
    thinned = mix(0.22, SLASH, floor) * (0.5 + 0.5 * lit)
    open_ground = {
        Cause.CLEAR_CUT: cleared,
        Cause.WINTER_CLEAR_CUT: cleared,
        Cause.WINDTHROW: fallen,
        Cause.FIRE: charred,
    }
    after = np.zeros((len(Cause), age_days.size, GRASS.size), dtype=np.float32)
    for cause, spectra in open_ground.items():
        white = 0.6 * snow if cause is Cause.WINDTHROW else snow
        after[cause] = mix(white, SNOW, spectra)
    after[Cause.NONE] = floor
    after[Cause.DIEBACK] = grey
    after[Cause.THINNING] = mix(0.8 * snow, SNOW, thinned)
    return after
