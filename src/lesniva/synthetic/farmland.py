"""Farmland whose crops, growth and yields follow from daily weather.

Each district has its own weather (most of it shared with its neighbours). From it follows, day by
day, how each crop stands: how dense, how ripe. Fields have a crop by year from a rotation, a vigour
and a sowing date of their own. Yields follow from the same growth, from what happens after the last
scene one can see, and from what no satellite sees.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesniva.errors import InputError
from lesniva.synthetic.landscape import (
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
from lesniva.synthetic.season import (
    DAY,
    LIPETSK,
    Weather,
    day_of_year,
    degree_days,
    logistic,
    simulate_weather,
    trailing_mean,
    year_of,
)
from lesniva.synthetic.spectra import (
    AUTUMN_LEAF,
    BROADLEAF,
    BUILT,
    CHERNOZEM,
    CONIFER,
    CROP,
    GRASS,
    LEAFLESS,
    SNOW,
    STRAW,
    WATER,
    Floats,
    as_floats,
    mix,
)


class Crop(IntEnum):
    """What a field carries in a harvest year; numbers of the crop maps."""

    NONE = 0
    WINTER_WHEAT = 1
    SPRING_BARLEY = 2
    SUNFLOWER = 3
    SUGAR_BEET = 4
    MAIZE = 5
    FALLOW = 6


class Cover(IntEnum):
    """What a unit of the landscape is."""

    FIELD = 0
    FOREST = 1
    MEADOW = 2
    WATER = 3
    VILLAGE = 4


ROTATION: Final = (
    Crop.FALLOW,
    Crop.WINTER_WHEAT,
    Crop.SUGAR_BEET,
    Crop.SPRING_BARLEY,
    Crop.WINTER_WHEAT,
    Crop.MAIZE,
    Crop.SPRING_BARLEY,
    Crop.WINTER_WHEAT,
    Crop.SUNFLOWER,
)
"""Order of crops on a field: winter wheat follows what is harvested before September."""

YIELD_T_HA: Final = {
    Crop.WINTER_WHEAT: 4.7,
    Crop.SPRING_BARLEY: 3.5,
    Crop.SUNFLOWER: 2.6,
    Crop.SUGAR_BEET: 45.0,
}
"""Mean yields of the middle year, t/ha, for the crops with statistics."""

WEIGHT_BASIS: Final = "after_processing"
"""How the statistics weigh a harvest."""

SPREAD: Final = 0.15
"""Standard deviation of the yields' growth part, share of the mean."""

UNSEEN: Final = 0.065
"""Standard deviation of what no satellite sees (lodging, disease, harvest), share of the mean."""

TREND_PER_YEAR: Final = 0.012
"""Growth of yields by better farming, share of the mean."""

MIN_ARABLE_HA: Final = 6000.0
"""Districts with less arable land in the picture have no statistics here."""

TREND_YEAR: Final = 2021

WINTER_SOWING_DAY: Final = 246
"""Mean day of the year on which winter wheat is sown (3 September)."""


@dataclass(frozen=True)
class Growth:
    """How the crops stand in each district, day by day; arrays are (crop, district, day)."""

    weather: Weather
    green: Floats
    """Share of the ground under green leaves of a typical field, 0…1."""
    straw: Floats
    """Share of the ground under ripe plants or stubble, 0…1."""
    sown: Floats
    """The same for the winter wheat of the coming harvest year, from August on (district, day)."""
    meadow: Floats
    """Greenness of grass, (district, day)."""
    leaf: Floats
    """Share of the trees' leaves that are out, (district, day)."""
    index: dict[Crop, Floats]
    """Growth part of the yield by crop, (district, year), unit variance."""
    years: npt.NDArray[np.int64]
    """Harvest years."""


@dataclass(frozen=True)
class Farmland:
    """A farmland and what is known of it."""

    land: Land
    adm_id: list[str]
    """Districts, in the order of all district axes."""
    cover: npt.NDArray[np.uint8]
    """`Cover` by pixel of the finer bands."""
    unit_crop: npt.NDArray[np.uint8]
    """`Crop` by unit and year, (unit, year)."""
    unit_district: npt.NDArray[np.int64]
    """Number of the district each unit lies in."""
    growth: Growth
    yields: pd.DataFrame
    """adm_id, crop, year, yield_t_ha, area_ha, weight_basis: every year, the last one too."""

    def crop_map(self, year: int) -> npt.NDArray[np.uint8]:
        """`Crop` of a harvest year by pixel of the finer bands."""
        column = int(np.flatnonzero(self.growth.years == year)[0])
        return np.asarray(self.unit_crop[self.land.fine.units, column])

    def weather_table(self, last: np.datetime64) -> pd.DataFrame:
        """Daily weather to `last`: adm_id, date, t2m_c, prec_mm."""
        weather = self.growth.weather
        count = weather.at(last) + 1
        known = sorted(set(self.yields["adm_id"]))
        rows = [self.adm_id.index(name) for name in known]
        return pd.DataFrame(
            {
                "adm_id": np.repeat(known, count),
                "date": np.tile(np.datetime_as_string(weather.days[:count]), len(rows)),
                "t2m_c": weather.t2m_c[rows, :count].ravel().round(2),
                "prec_mm": weather.prec_mm[rows, :count].ravel().round(2),
            }
        )


def farm(
    districts: gpd.GeoDataFrame, *, seed: int, grid: Grid, first_year: int, last_year: int
) -> Farmland:
    """Lay out the fields, play the weather, let the crops grow, weigh the harvests.

    Parameters
    ----------
    districts
        ``adm_id`` and geometry, any CRS.
    seed
        Everything follows from it.
    grid
        Pixels of the finer bands.
    first_year, last_year
        Harvest years.

    Returns
    -------
    Farmland
        Truth included.

    Raises
    ------
    InputError
        When `districts` lacks ``adm_id`` or a CRS, or does not touch the grid.
    """
    inside = _districts_of(districts, grid)
    adm_id = [str(name) for name in inside["adm_id"]]
    cover, units = _compose(seed, grid)
    unit_cover, unit_district = _locate(cover, units, inside, grid)
    years = np.arange(first_year, last_year + 1)
    rng = np.random.default_rng([seed, 41])
    unit_crop = _rotate(rng, unit_cover, years.size)
    weather = simulate_weather(
        LIPETSK,
        rng=np.random.default_rng([seed, 42]),
        start=np.datetime64(f"{first_year - 1}-01-01"),
        end=np.datetime64(f"{last_year}-12-31"),
        places=len(adm_id),
    )
    growth = _grow(weather, years)
    yields = _harvest(
        np.random.default_rng([seed, 43]),
        growth,
        adm_id,
        _area_ha(units, unit_crop, unit_district, len(adm_id), grid),
    )
    fields = _FieldTraits(
        unit_cover,
        unit_crop,
        unit_district,
        shift=np.round(rng.normal(0, 4, unit_cover.size)).astype(np.int64),
        vigour=np.clip(1 + rng.normal(0, 0.06, unit_cover.size), 0.8, 1.15).astype(np.float32),
    )
    land = _land(seed, grid, units, unit_cover, growth, fields)
    return Farmland(land, adm_id, cover, unit_crop, unit_district, growth, yields)


# --- The ground -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FieldTraits:
    cover: npt.NDArray[np.int64]
    crop: npt.NDArray[np.uint8]
    district: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    """Days the field lags behind the district."""
    vigour: Floats
    """Density of its crop relative to the district."""


def _districts_of(districts: gpd.GeoDataFrame, grid: Grid) -> gpd.GeoDataFrame:
    """Districts that touch the grid, in the grid's CRS, in the order of their ids."""
    from shapely.geometry import box

    if "adm_id" not in districts.columns or districts.crs is None:
        found = ", ".join(map(str, districts.columns))
        raise InputError(
            f"districts need a column adm_id and a CRS; found the columns {found} and the CRS "
            f"{districts.crs}; read them with an area file"
        )
    local = districts.to_crs(grid.epsg)
    size = grid.resolution
    window = box(grid.left, grid.top - grid.height * size, grid.left + grid.width * size, grid.top)
    touching = local[local.intersects(window)].sort_values("adm_id").reset_index(drop=True)
    if touching.empty:
        raise InputError(
            "no district touches the farmland archive near 39-40.5 E 52.3-53.2 N; "
            "give the districts of Lipetsk oblast"
        )
    return touching


def _compose(seed: int, grid: Grid) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Cover by pixel, and units: fields and patches of everything else."""
    rng = np.random.default_rng([seed, 40])
    shape, metre = grid.shape, 1 / grid.resolution
    fields = parcels(rng, shape, block=7000 * metre, length=2300 * metre, width=850 * metre)
    patches = stands(rng, shape, size=2500 * metre, warp=300 * metre)
    wooded = smooth_field(rng, shape, scale=16000 * metre, roughness=2.6)
    islands = smooth_field(rng, shape, scale=3500 * metre, roughness=2.8)
    big = river_distance(
        rng, shape, start=0.45 * shape[1], drift=0.12 * shape[1], meander=0.035 * shape[1]
    )
    small = river_distance(
        rng, shape, start=0.85 * shape[1], drift=-0.1 * shape[1], meander=0.05 * shape[1]
    )
    lakes = discs(rng, shape, count=14, radius=(200 * metre, 700 * metre))
    towns = discs(rng, shape, count=60, radius=(300 * metre, 1100 * metre))
    valley = np.minimum(big / 1.5, small) * grid.resolution
    cover = np.full(shape, Cover.FIELD)
    cover[(wooded > 1.1) | (islands > 2.1)] = Cover.FOREST
    cover[valley < 450 + 250 * islands] = Cover.MEADOW
    cover[(np.abs(islands) < 0.012) & (cover == Cover.FIELD)] = Cover.FOREST
    cover[towns] = Cover.VILLAGE
    cover[lakes | (big < 150 * metre) | (small < 75 * metre)] = Cover.WATER
    own = np.where(cover == Cover.FIELD, fields, patches + int(fields.max()) + 1)
    _, units = np.unique(own * 8 + cover, return_inverse=True)
    return np.asarray(cover, dtype=np.uint8), units.reshape(shape).astype(np.uint16)


def _locate(
    cover: npt.NDArray[np.uint8],
    units: npt.NDArray[np.uint16],
    districts: gpd.GeoDataFrame,
    grid: Grid,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cover and district of each unit; a unit belongs where its centre lies, or nearest to it."""
    import shapely

    flat = units.ravel()
    count = np.bincount(flat)
    rows, columns = np.indices(units.shape)
    x = grid.left + (np.bincount(flat, columns.ravel()) / count + 0.5) * grid.resolution
    y = grid.top - (np.bincount(flat, rows.ravel()) / count + 0.5) * grid.resolution
    unit_cover = np.empty(count.size, dtype=np.int64)
    unit_cover[flat] = cover.ravel()
    tree = shapely.STRtree(shapely.simplify(districts.geometry.to_numpy(), grid.resolution))
    return unit_cover, np.asarray(tree.nearest(shapely.points(x, y)), dtype=np.int64)


def _rotate(
    rng: np.random.Generator, cover: npt.NDArray[np.int64], years: int
) -> npt.NDArray[np.uint8]:
    """Crop by unit and year: each field enters the rotation somewhere."""
    order = np.array(ROTATION, dtype=np.uint8)
    start = rng.integers(0, order.size, size=(cover.size, 1))
    crop = order[(start + np.arange(years)) % order.size]
    # Here and there the farmer sows sunflower instead of maize, and spring barley after a failure.
    sunflower = (crop == Crop.MAIZE) & (rng.random(crop.shape) < 0.45)
    crop[sunflower] = Crop.SUNFLOWER
    crop[cover != Cover.FIELD] = Crop.NONE
    return np.asarray(crop, dtype=np.uint8)


def _area_ha(
    units: npt.NDArray[np.uint16],
    crop: npt.NDArray[np.uint8],
    district: npt.NDArray[np.int64],
    districts: int,
    grid: Grid,
) -> npt.NDArray[np.float64]:
    """Hectares in the picture by (crop, district, year)."""
    hectares = np.bincount(units.ravel(), minlength=crop.shape[0]) * grid.resolution**2 / 10_000
    area = np.zeros((len(Crop), districts, crop.shape[1]))
    for column in range(crop.shape[1]):
        np.add.at(area[:, :, column], (crop[:, column], district), hectares)
    return area


# --- Growth ---------------------------------------------------------------------------------------


def _grow(weather: Weather, years: npt.NDArray[np.int64]) -> Growth:
    """Let every crop grow in every district, from the weather alone."""
    doy = day_of_year(weather.days)
    moisture = trailing_mean(weather.water, 25)
    spring = degree_days(weather, base_c=3.0, month=3)
    warm = degree_days(weather, base_c=6.0, month=4)
    green = np.zeros((len(Crop), *weather.t2m_c.shape), dtype=np.float32)
    straw = np.zeros_like(green)
    vigour = 0.35 + 0.65 * moisture

    stand = _winter_stand(weather)
    tillers = _autumn_cover(weather, doy)
    early = stand * np.maximum(0.7 * _carried(tillers, doy), 0.12)
    heat = spring + 160 * (1 - moisture)
    grown = logistic((spring - 260) / 75)
    ripe = logistic((heat - 1180) / 55)
    full = 0.95 * stand * vigour
    cover = early + (full - early) * grown
    _put(green, straw, Crop.WINTER_WHEAT, cover, ripe, logistic((heat - 1900) / 30))

    for crop, begin, width, end, plough, top in (
        (Crop.SPRING_BARLEY, 225, 45, 1130, 1600, 0.92),
        (Crop.SUNFLOWER, 640, 70, 1720, 2050, 0.88),
        (Crop.SUGAR_BEET, 560, 75, 2900, 2000, 0.93),
        (Crop.MAIZE, 700, 75, 1850, 2100, 0.92),
    ):
        shortened = warm + 120 * (1 - moisture)
        cover = top * (0.35 + 0.65 * moisture) * logistic((warm - begin) / width)
        ripe = logistic((shortened - end) / 60)
        gone = logistic((warm - plough) / 30) * logistic((doy - 215) / 3.0)
        if crop == Crop.SUGAR_BEET:
            cover = cover * logistic((285 - doy) / 4.0)
            gone = logistic((doy - 285) / 4.0) + 0 * gone
        _put(green, straw, crop, cover, ripe, gone)
    weeds = 0.25 * logistic((warm - 400) / 80) * moisture * logistic((240 - doy) / 6.0)
    green[Crop.FALLOW] = weeds

    leaf = logistic((degree_days(weather, base_c=5.0, month=3) - 110) / 22)
    leaf = leaf * logistic((280 - doy) / 5.0)
    meadow = logistic((spring - 130) / 40) * logistic((298 - doy) / 8.0) * (0.4 + 0.6 * moisture)
    index = {
        Crop.WINTER_WHEAT: _season_index(
            weather,
            years,
            [(stand, 121, 151, 0.5), (moisture, 121, 172, 1.0), (moisture, 172, 192, 0.55)],
        ),
        Crop.SPRING_BARLEY: _season_index(
            weather, years, [(moisture, 135, 172, 1.0), (moisture, 172, 195, 0.45)]
        ),
        Crop.SUNFLOWER: _season_index(
            weather, years, [(moisture, 160, 190, 0.3), (moisture, 190, 235, 1.0)]
        ),
        Crop.SUGAR_BEET: _season_index(
            weather, years, [(moisture, 165, 180, 0.12), (moisture, 195, 262, 1.0)]
        ),
    }
    return Growth(weather, green, straw, tillers, meadow, leaf, index, years)


def _put(
    green: Floats, straw: Floats, crop: Crop, cover: Floats, ripe: Floats, gone: Floats
) -> None:
    """Green while it grows, straw when ripe, nothing when ploughed."""
    green[crop] = cover * (1 - ripe)
    straw[crop] = cover * ripe * (1 - np.clip(gone, 0, 1))


def _winter_stand(weather: Weather) -> Floats:
    """Share of the winter wheat that is alive: frost without snow kills (district, day)."""
    months = weather.days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    bare = np.exp(-weather.snow_mm / 6)
    harm = np.maximum(-weather.t2m_c - 12, 0) * bare * 0.009
    harm = np.where((months >= 11) | (months <= 3), harm, 0)
    season = (weather.days + 122 * DAY).astype("datetime64[Y]")
    first = np.searchsorted(season, season)
    total = np.cumsum(harm, axis=1)
    before = np.where(first > 0, total[:, np.maximum(first, 1) - 1], 0.0)
    return np.asarray(np.exp(-(total - before)), dtype=np.float32)


def _autumn_cover(weather: Weather, doy: npt.NDArray[np.int64]) -> Floats:
    """Ground covered by winter wheat in the autumn of its sowing, (district, day)."""
    after = doy >= WINTER_SOWING_DAY
    warmth = np.where(after, np.maximum(weather.t2m_c - 4, 0), 0)
    years = weather.days.astype("datetime64[Y]")
    first = np.searchsorted(years, years)
    total = np.cumsum(warmth, axis=1)
    before = np.where(first > 0, total[:, np.maximum(first, 1) - 1], 0.0)
    moisture = trailing_mean(weather.water, 25)
    cover = (
        0.62 * (0.45 + 0.55 * moisture) * (1 - np.exp(-np.maximum(total - before - 60, 0) / 150))
    )
    return np.asarray(np.where(after, cover, 0), dtype=np.float32)


def _carried(tillers: Floats, doy: npt.NDArray[np.int64]) -> Floats:
    """Carry the cover of the end of November into the year after."""
    marks = np.where(doy == 334, np.arange(doy.size), -1)
    latest = np.maximum.accumulate(marks)
    carried = np.where(latest >= 0, tillers[:, np.maximum(latest, 0)], 0.3)
    return np.asarray(carried, dtype=np.float32)


def _season_index(
    weather: Weather,
    years: npt.NDArray[np.int64],
    parts: list[tuple[Floats, int, int, float]],
) -> Floats:
    """Weighted sum of seasonal means, (district, year), zero mean and unit variance.

    Each part is a daily series, first and last day of the year, weight; parts are brought to unit
    variance first, so that the weights say what matters.
    """
    doy = day_of_year(weather.days)
    year = weather.days.astype("datetime64[Y]").astype(np.int64) + 1970
    total = np.zeros((weather.t2m_c.shape[0], years.size))
    for series, first, last, weight in parts:
        means = np.stack(
            [series[:, (year == y) & (doy >= first) & (doy <= last)].mean(axis=1) for y in years], 1
        )
        total += weight * (means - means.mean()) / max(float(means.std()), 1e-6)
    return np.asarray((total - total.mean()) / max(float(total.std()), 1e-6), dtype=np.float32)


def _harvest(
    rng: np.random.Generator,
    growth: Growth,
    adm_id: list[str],
    area_ha: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Add up level, soil, trend, growth and the unseen by district, crop and year."""
    arable = area_ha.sum(axis=0).max(axis=1)
    soil = rng.normal(0, 0.05, len(adm_id))
    rows: list[dict[str, Any]] = []
    for crop, level in YIELD_T_HA.items():
        unseen = UNSEEN * (
            0.77 * rng.standard_normal((1, growth.years.size))
            + 0.64 * rng.standard_normal((len(adm_id), growth.years.size))
        )
        relative = 1 + soil[:, np.newaxis] + SPREAD * growth.index[crop] + unseen
        relative += TREND_PER_YEAR * (growth.years - TREND_YEAR)
        for place, name in enumerate(adm_id):
            if arable[place] < MIN_ARABLE_HA:
                continue
            for column, year in enumerate(growth.years):
                rows.append(
                    {
                        "adm_id": name,
                        "crop": crop.name.lower(),
                        "year": int(year),
                        "yield_t_ha": round(float(level * max(relative[place, column], 0.25)), 2),
                        "area_ha": round(float(area_ha[crop, place, column]), 1),
                        "weight_basis": WEIGHT_BASIS,
                    }
                )
    table = pd.DataFrame(rows)
    return table.sort_values(["adm_id", "crop", "year"]).reset_index(drop=True)


# --- What it looks like ---------------------------------------------------------------------------


def _land(
    seed: int,
    grid: Grid,
    units: npt.NDArray[np.uint16],
    cover: npt.NDArray[np.int64],
    growth: Growth,
    fields: _FieldTraits,
) -> Land:
    rng = np.random.default_rng([seed, 44])
    level = np.array([0.55, 0.85, 0.5, 0.5, 0.45])[cover]
    texture = smooth_field(rng, grid.shape, scale=8, roughness=3.2)
    light = 10 * smooth_field(rng, grid.shape, scale=6, roughness=3.0)
    nothing = np.zeros(grid.shape, dtype=np.uint8)
    maps = Maps(
        units=units,
        weight=to_bytes(level[units] + 0.10 * texture),
        light=np.clip(light, -100, 100).astype(np.int8),
        cause=nothing,
        severity=nothing,
        event_day=nothing.astype(np.uint16),
    )
    return Land(
        grid=grid,
        fine=maps,
        coarse=maps.halved(),
        progress=np.zeros((1, 1), dtype=np.float32),
        surface=lambda date: _surface(date, growth, fields),
        fine_noise=0.004,
        coarse_noise=0.004,
    )


def _surface(date: np.datetime64, growth: Growth, fields: _FieldTraits) -> Surface:
    """Spectra of all units on a date."""
    today = growth.weather.at(date)
    place = fields.district
    # One snow line for all districts: their borders must not show in the picture.
    snow = np.full(place.size, growth.weather.snow_cover(date).mean())
    branches = growth.weather.fresh_snow[place, today]
    green, straw = _field_cover(date, growth, fields)
    # Moist soil is darker than dry soil.
    soil = CHERNOZEM * (1.15 - 0.3 * growth.weather.water[place, today])[:, np.newaxis]
    upper = _field_spectrum(1.06 * green, 1.06 * straw, soil)
    lower = _field_spectrum(0.78 * green, 0.85 * straw, soil)

    forest = fields.cover == Cover.FOREST
    leaf = growth.leaf[place, today]
    floor = mix(0.5 * growth.meadow[place, today], GRASS, LEAFLESS)
    crowns = mix(leaf, mix(0.12, AUTUMN_LEAF, BROADLEAF), mix(0.25 * branches, SNOW, LEAFLESS))
    crowns = mix(0.35, mix(0.3 * branches, SNOW, CONIFER), crowns)
    open_ground = ~forest & (fields.cover != Cover.WATER)
    upper[forest] = crowns[forest]
    lower[forest] = mix(snow, SNOW, floor)[forest]
    meadow = fields.cover == Cover.MEADOW
    grass = growth.meadow[place, today]
    upper[meadow] = mix(0.15 + 0.85 * grass, GRASS, STRAW)[meadow]
    lower[meadow] = mix(0.10 + 0.70 * grass, GRASS, STRAW)[meadow]
    village = fields.cover == Cover.VILLAGE
    upper[village] = mix(0.15 + 0.65 * leaf, GRASS, LEAFLESS)[village]
    lower[village] = BUILT
    covered = np.where(village, 0.6 * snow, snow)
    upper[open_ground] = mix(covered, SNOW, upper)[open_ground]
    lower[open_ground] = mix(covered, SNOW, lower)[open_ground]
    water = fields.cover == Cover.WATER
    ice = np.where(snow > 0.6, 0.9 * snow, 0)
    upper[water] = lower[water] = mix(ice, SNOW, WATER)[water]
    after = GRASS[np.newaxis, np.newaxis].copy()
    return Surface(upper, lower, after, water & (ice == 0))


def _field_cover(
    date: np.datetime64, growth: Growth, fields: _FieldTraits
) -> tuple[Floats, Floats]:
    """Share of green and of straw by unit: the crop of the year, or the wheat of the next."""
    days = growth.weather.days
    today = np.clip(growth.weather.at(date) - fields.shift, 0, days.size - 1)
    year = year_of(date)
    column = year - int(growth.years[0])
    row = np.arange(fields.cover.size)
    last = growth.years.size - 1
    crop = fields.crop[row, np.clip(column, 0, last)].astype(np.int64)
    if column < 0:
        crop = np.where(fields.cover == Cover.FIELD, np.int64(Crop.FALLOW), 0)
    green = growth.green[crop, fields.district, today]
    straw = growth.straw[crop, fields.district, today]
    following = fields.crop[row, np.clip(column + 1, 0, last)]
    if int(day_of_year(np.array([date], "datetime64[D]"))[0]) >= WINTER_SOWING_DAY - 8:
        sown = (following == Crop.WINTER_WHEAT) & (column < last)
        green = np.where(sown, growth.sown[fields.district, today], green)
        straw = np.where(sown, 0, straw)
    return as_floats(green * fields.vigour), as_floats(straw)


def _field_spectrum(green: Floats, straw: Floats, soil: Floats) -> Floats:
    leaves = np.clip(green, 0, 1)
    return mix(leaves, CROP, mix(np.clip(straw / np.maximum(1 - leaves, 0.05), 0, 1), STRAW, soil))
