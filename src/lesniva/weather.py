"""Daily weather of districts: as people have it in, one checked table out.

The table is long: ``adm_id, date`` and any of `VARIABLES`. `read` takes tidy tables and grids,
`completed` adds what follows from the rest, `checked` refuses what cannot be weather.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from lesniva.errors import InputError

VARIABLES: dict[str, tuple[float, float]] = {
    "tmin": (-70.0, 50.0),
    "tmax": (-70.0, 60.0),
    "tmean": (-70.0, 55.0),
    "prec": (0.0, 500.0),
    "et0": (-1.0, 25.0),
    "soil_moisture": (0.0, 1.0),
    "snow_depth": (0.0, 1000.0),
}
"""Daily minimum, maximum and mean of air temperature at 2 m, °C; precipitation and reference
evapotranspiration, mm/day; volumetric soil moisture, m³/m³; depth of the snow, cm; each with the
range it can have."""

OTHER_NAMES = {
    "t2m_min": "tmin", "t2m_max": "tmax", "t2m": "tmean", "t2m_c": "tmean", "tavg": "tmean",
    "tas": "tmean", "tasmin": "tmin", "tasmax": "tmax", "mn2t": "tmin", "mx2t": "tmax",
    "prec_mm": "prec", "prectotcorr": "prec", "precipitation": "prec", "pr": "prec", "tp": "prec",
    "rain": "prec", "eto": "et0", "swvl1": "soil_moisture", "ssm": "soil_moisture",
    "sde": "snow_depth",
}  # fmt: skip
"""Names that NASA POWER, ERA5-Land, CMIP tables and this project's archives use."""

MAX_VALUES = 2_000_000_000
"""Of one variable of a gridded file: forty years of days over 300 × 450 cells."""

TIMES, PLACES = ("time", "valid_time", "date"), ("adm_id",)
LATITUDES, LONGITUDES = ("latitude", "lat"), ("longitude", "lon")

SOLAR_CONSTANT = 0.0820
"""MJ m⁻² min⁻¹ (FAO-56)."""

MM_PER_MJ = 0.408
"""Water that a megajoule a square metre evaporates, mm (FAO-56)."""


def read(path: Path, districts: gpd.GeoDataFrame) -> pd.DataFrame:
    """Read daily weather.

    Parameters
    ----------
    path
        A tidy table (``.csv``, ``.parquet``: ``adm_id, date`` and any of `VARIABLES`, or names of
        `OTHER_NAMES`), or ``.nc`` or ``.zarr``: the same variables over ``time`` and ``adm_id``, or
        over ``time, latitude, longitude``, which is averaged over each district by the exact share
        of every cell. K and m, where an attribute ``units`` says so, become °C and mm (snow: cm).
    districts
        ``adm_id`` and polygons in any CRS.

    Returns
    -------
    DataFrame
        As `completed` gives it, for the districts asked only.

    Raises
    ------
    InputError
        The file cannot be read or is wrong; all faults in one message.
    """
    try:
        table = _table(path, districts)
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"weather {path} cannot be read: {reason}; check the file") from error
    named = table.rename(columns=lambda name: _known(str(name)))
    return completed(checked(named, districts["adm_id"], what=f"weather {path}"), districts)


def checked(table: pd.DataFrame, adm_ids: Sequence[str], *, what: str) -> pd.DataFrame:
    """Check a table of weather.

    Parameters
    ----------
    table
        ``adm_id, date`` and any of `VARIABLES`; other columns are left out.
    adm_ids
        Districts wanted; rows of others are left out.
    what
        Whose table it is, for the message.

    Returns
    -------
    DataFrame
        ``adm_id`` (str), ``date`` (day), the variables as float64, NaN = not known; sorted.

    Raises
    ------
    InputError
        Columns are missing, values out of range, keys repeated, no district known; all at once.
    """
    lost = [name for name in ("adm_id", "date") if name not in table]
    names = [name for name in VARIABLES if name in table]
    if lost or not names:
        needed = [*lost, *([] if names else [f"any of {', '.join(VARIABLES)}"])]
        raise InputError(f"{what} lacks {'; '.join(needed)}; it has {', '.join(map(str, table))}")
    wanted = {str(adm_id) for adm_id in adm_ids}
    rows = table[["adm_id", "date", *names]].assign(adm_id=table["adm_id"].astype(str))
    rows = rows[rows["adm_id"].isin(wanted)]
    faults = []
    if rows.empty:
        found = ", ".join(sorted(map(str, table["adm_id"].unique()))[:5])
        faults.append(f"it knows none of the districts (it has {found})")
    dates = pd.to_datetime(rows["date"], errors="coerce", format="mixed").dt.normalize()
    if dates.isna().any():
        faults.append(f"{int(dates.isna().sum())} dates are no dates")
    values = rows[names].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    rows = pd.DataFrame({"adm_id": rows["adm_id"], "date": dates, **values})
    repeated = int(rows.duplicated(["adm_id", "date"]).sum())
    if repeated:
        faults.append(f"{repeated} rows repeat a district and day: give one value a day")
    for name in names:
        low, high = VARIABLES[name]
        outside = rows[name].notna() & ~rows[name].between(low, high)
        if outside.any():
            first = rows.loc[outside, name].iloc[0]
            faults.append(f"{name} is outside {low:g}..{high:g} ({outside.sum()}×, {first:g})")
    if faults:
        raise InputError(f"{what}: {'; '.join(faults)}; correct the file")
    return rows.sort_values(["adm_id", "date"], ignore_index=True)


def completed(table: pd.DataFrame, districts: gpd.GeoDataFrame) -> pd.DataFrame:
    """Add the mean temperature and the reference evapotranspiration that follow from the rest.

    Parameters
    ----------
    table
        As `checked` gives it.
    districts
        ``adm_id`` and polygons; their latitude settles the sun's share.
    """
    if not {"tmin", "tmax"} <= set(table):
        return table
    if "tmean" not in table:
        table = table.assign(tmean=(table["tmin"] + table["tmax"]) / 2)
    if "et0" not in table:
        latitude = districts.set_index("adm_id").to_crs("EPSG:4326").representative_point().y
        table = table.assign(
            et0=hargreaves(
                table["tmin"].to_numpy(),
                table["tmax"].to_numpy(),
                latitude.reindex(table["adm_id"]).to_numpy(),
                table["date"].dt.day_of_year.to_numpy(),
            )
        )
    return table


def hargreaves(
    tmin: npt.ArrayLike, tmax: npt.ArrayLike, latitude: npt.ArrayLike, day: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Estimate the reference evapotranspiration from temperature alone (FAO-56, equation 52).

    Parameters
    ----------
    tmin, tmax
        °C.
    latitude
        Degrees north.
    day
        Day of the year, 1-366.

    Returns
    -------
    ndarray
        mm/day; the radiation at the top of the atmosphere by equations 21 to 25.

    Examples
    --------
    FAO-56, example 20: Lyon, 45°43' N, July, 14.8 and 26.6 °C.

    >>> float(hargreaves(14.8, 26.6, 45.72, 196).round(1))
    5.0
    """
    low, high = np.asarray(tmin, dtype=np.float64), np.asarray(tmax, dtype=np.float64)
    phi, angle = np.radians(latitude), 2 * np.pi * np.asarray(day) / 365
    distance = 1 + 0.033 * np.cos(angle)
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1))
    radiation = (24 * 60 / np.pi) * SOLAR_CONSTANT * distance
    radiation = radiation * (
        sunset * np.sin(phi) * np.sin(declination)
        + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    )
    spread = np.sqrt(np.maximum(high - low, 0))
    et0 = 0.0023 * ((low + high) / 2 + 17.8) * spread * MM_PER_MJ * radiation
    return np.asarray(np.maximum(et0, 0.0))


def _table(path: Path, districts: gpd.GeoDataFrame) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"adm_id": str})
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError("it is neither .csv, .parquet, .nc nor .zarr")
    # any store can be read without consolidated metadata
    how: Any = {"engine": "zarr", "consolidated": False} if path.suffix == ".zarr" else {}
    with xr.open_dataset(path, **{"engine": "netcdf4", **how}) as data:
        largest = max((variable.size for variable in data.variables.values()), default=0)
        if largest > MAX_VALUES:
            raise ValueError(f"a variable claims {largest} values, more than {MAX_VALUES}; cut it")
        return _of_grid(data, districts)


def _of_grid(data: xr.Dataset, districts: gpd.GeoDataFrame) -> pd.DataFrame:
    """Make a table of a data set over places or over a grid."""
    time = _named(data, TIMES)
    kept = [name for name in data.data_vars if _known(str(name)) in VARIABLES]
    data = data[kept].rename({name: _known(str(name)) for name in kept}).rename({time: "date"})
    data = data.map(_in_our_units)
    if "adm_id" not in data.dims:
        data = _area_means(data, districts)
    table = data.to_dataframe().reset_index()
    return table[["adm_id", "date", *data.data_vars]]


def _area_means(data: xr.Dataset, districts: gpd.GeoDataFrame) -> xr.Dataset:
    """Average a grid over districts, each cell by the share of it inside (exactextract)."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    lat, lon = _named(data, LATITUDES), _named(data, LONGITUDES)
    data = data.sortby(lat, ascending=False).sortby(lon)
    y, x = data[lat].to_numpy(), data[lon].to_numpy()
    if len(y) < 2 or len(x) < 2:
        raise ValueError(f"its grid has {len(y)} × {len(x)} cells, at least 2 × 2 are needed")
    dy, dx = abs(y[1] - y[0]) / 2, abs(x[1] - x[0]) / 2
    raster = NumPyRasterSource(
        np.ones((len(y), len(x)), dtype=np.uint8),
        xmin=x[0] - dx, ymin=y[-1] - dy, xmax=x[-1] + dx, ymax=y[0] + dy, srs_wkt="EPSG:4326",
    )  # fmt: skip
    shapes = districts[["adm_id", "geometry"]].to_crs("EPSG:4326")
    cells = exact_extract(
        raster, shapes, ["cell_id", "coverage"], include_cols=["adm_id"], output="pandas"
    )
    shares = np.zeros((len(cells), len(y) * len(x)))
    for row, (ids, coverage) in enumerate(zip(cells["cell_id"], cells["coverage"], strict=True)):
        shares[row, np.asarray(ids, dtype=np.int64)] = coverage
    weight = xr.DataArray(
        shares.reshape(len(cells), len(y), len(x)),
        dims=("adm_id", lat, lon),
        coords={"adm_id": cells["adm_id"].astype(str), lat: y, lon: x},
    )
    # cells of a degree are narrower in the north
    weight = weight * np.cos(np.radians(weight[lat]))
    return data.map(lambda values: values.weighted(weight).mean((lat, lon)))


def _in_our_units(values: xr.DataArray) -> xr.DataArray:
    units = str(values.attrs.get("units", ""))
    if units == "K":
        return values - 273.15
    if units == "m":
        return values * (100 if values.name == "snow_depth" else 1000)
    return values


def _named(data: xr.Dataset, names: Sequence[str]) -> str:
    found = next((name for name in names if name in data.dims), None)
    if found is None:
        raise ValueError(
            f"it has no dimension {' or '.join(names)}, only {', '.join(map(str, data.dims))}"
        )
    return found


def _known(name: str) -> str:
    return OTHER_NAMES.get(name.lower(), name)
