# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One field through the season
#
# The NDVI curve of a field: what was seen, the smooth curve through it, when the season began and
# peaked, and how that compares with past years on the same ground.
#
# Run `make demo` first: it writes the archive that is read here. **The scenes are synthetic.**

# %%
import datetime as dt
import os
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shapely

from lesniva import aoi, cube, features, indices, sources, zonal
from lesniva.sources import sentinelhub, statistical

# the folder in which `make demo` ran
HOME = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "archive").exists())
SCENES = str(HOME / "archive" / "demo" / "farmland" / "catalog.json")

forecast = pd.read_csv(HOME / "out" / "demo-harvest" / "forecast.csv")
SEASON = int(forecast["year"].iloc[0]) - 1  # the last one that is complete
DISTRICT = forecast.dropna(subset=["boosters_t_ha"])["adm_id"].iloc[0]  # one with scenes

# %% [markdown]
# ## A field
#
# You would read yours from a file: `gpd.read_file("fields.gpkg")`. Here we look for one: green in May
# and bare in August, as winter wheat is, and the same over three by three pixels.


# %%
def ndvi_of(area, start, end, resolution):
    """Clear NDVI of an area, and its grid."""
    items = sources.search(kind="catalog", href=SCENES, area=area.outline, start=start, end=end)
    days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
    (grid,) = aoi.grids(area, resolution=resolution, block_size=64)
    bands = cube.load(days, grid.geobox, ("red", "nir", "scl"))
    return indices.index("ndvi", bands, clear=bands["scl"].isin([4, 5])), grid


area = aoi.load(HOME / "aoi" / "lipetsk.geojson")
summer = (dt.date(SEASON, 5, 1), dt.date(SEASON, 8, 31))
(scene, *_) = sources.search(
    kind="catalog", href=SCENES, area=area.outline, start=summer[0], end=summer[1]
)
covered = area.districts.geometry[DISTRICT].intersection(shapely.geometry.shape(scene.geometry))
x, y = covered.representative_point().coords[0]
near = aoi.load(HOME / "aoi" / "lipetsk.geojson", clip=(x - 0.06, y - 0.04, x + 0.06, y + 0.04))
year, grid = ndvi_of(near, dt.date(SEASON, 4, 1), dt.date(SEASON, 10, 31), 120)
may = year.sel(time=slice(f"{SEASON}-05-01", f"{SEASON}-06-20")).median("time")
august = year.sel(time=slice(f"{SEASON}-07-25", f"{SEASON}-09-10")).median("time")
drop = (may - august).rolling(y=3, x=3, center=True).min()
place = drop.where(drop == drop.max(), drop=True)
centre = shapely.Point(float(place.x[0]), float(place.y[0]))
crs = str(grid.geobox.crs)
field = gpd.GeoDataFrame({"adm_id": ["my field"]}, geometry=[centre.buffer(170, cap_style="square")], crs=crs)
print(f"{field.area.iloc[0] / 1e4:.1f} ha, NDVI {float(drop.max()):.2f} lower in August than in May")

# %% [markdown]
# ## What was seen, year by year
#
# `zonal.series` gives the mean of the clear pixels, each by the share of it that lies in the field.

# %%
west, south, east, north = field.to_crs("EPSG:4326").total_bounds
around = aoi.load(
    HOME / "aoi" / "lipetsk.geojson", clip=(west - 0.002, south - 0.002, east + 0.002, north + 0.002)
)
ndvi, grid = ndvi_of(around, dt.date(2016, 9, 1), dt.date(SEASON, 12, 31), 120)
seen = zonal.series(field, ndvi, grid.geobox)
seen = seen[seen["clear_share"] > 0.5]
seen.tail()

# %% [markdown]
# ## The smooth curve, and the dates of the season
#
# `features.features` is what the forecaster uses too: dekads, smoothed by Whittaker's method; the
# season starts where the curve has risen by a fifth of its amplitude. A year before the first scenes
# has no dates.

# %%
years = sorted(set(seen["date"].dt.year) & set(range(2017, SEASON + 1)))
dates = features.features(seen, crop="winter_wheat", years=years, cutoff="09-30", cover="cropland")
dates = dates.set_index("year")
dates[["sos_doy", "ndvi_peak_doy", "ndvi_peak", "greenup_rate", "ndvi_int", "qa_n_obs"]].round(3)

# %%
dekad = seen["date"].dt.day_of_year.sub(1).floordiv(10).clip(upper=36)
grouped = seen.assign(year=seen["date"].dt.year, dekad=dekad).groupby(["year", "dekad"])["ndvi"].mean()
wide = grouped.unstack().reindex(columns=range(37))
smooth = features.smooth(wide.to_numpy(), np.ones(wide.shape))
day_of_dekad = 10 * np.arange(37) + 5

fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for label, curve in zip(wide.index, smooth, strict=True):
    this = label == SEASON
    look = {"color": "#0b4a1d", "lw": 2.5} if this else {"color": "#b9b9b9", "lw": 1}
    ax.plot(day_of_dekad, curve, zorder=2 + this, label=str(label) if this else None, **look)
own = seen[seen["date"].dt.year == SEASON]
ax.scatter(own["date"].dt.day_of_year, own["ndvi"], color="#d8455c", zorder=4, label=f"seen in {SEASON}")
for column, word in (("sos_doy", "start"), ("ndvi_peak_doy", "peak")):
    ax.axvline(dates.loc[SEASON, column], color="black", lw=0.8, ls=":")
    ax.annotate(word, (dates.loc[SEASON, column], 0.02), rotation=90, fontsize=8)
ax.set(xlabel="day of the year", ylabel="NDVI", xlim=(60, 320), ylim=(0, 1), title="My field (grey: other years)")
ax.legend();

# %% [markdown]
# The grey years are not all wheat: crops rotate. Compare a field with years of the same crop, or a
# district, where rotation averages out, with all years: `features.anomalies` does that.
#
# ## The same without a single scene on the disk
#
# Sentinel Hub and CDSE give statistics of a polygon without sending pixels. With an account
# (`SH_CLIENT_ID` and `SH_CLIENT_SECRET` in the environment) the next cell asks for the curve of the
# field and costs a few processing units; without one it says so. The answer has a row for every ten
# days: NDVI of the clear pixels, and how many there were.

# %%
answer = None
if "SH_CLIENT_ID" in os.environ:
    service = sentinelhub.Service(sentinelhub.account("cdse"))
    outline = field.to_crs("EPSG:4326").geometry.iloc[0]
    answer = statistical.zonal_ndvi(
        service, {"my field": outline}, start=dt.date(SEASON, 4, 1), end=dt.date(SEASON, 9, 30)
    )
    fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
    middle = answer["start"] + (answer["end"] - answer["start"]) / 2
    ax.plot(middle.dt.tz_localize(None), answer["ndvi"], color="#08519c", marker="o", label="by the service")
    ax.scatter(own["date"], own["ndvi"], color="#d8455c", label="from the scenes of the archive")
    ax.set(ylabel="NDVI", ylim=(0, 1), title="The same field, without a scene on the disk")
    ax.legend()
else:
    print("no account in the environment: skipped")

# %% [markdown]
# ## What this page claims

# %%
this = dates.loc[SEASON]
# the season starts before it peaks, in spring and early summer
assert 60 < this["sos_doy"] < this["ndvi_peak_doy"] < 200
# what was green in May is bare in August
after = own[own["date"].dt.day_of_year.between(205, 255)]["ndvi"]
assert after.min() < 0.6 * this["ndvi_peak"]
# the smooth curve stays near what was seen, and invents nothing before the first scene
row = smooth[list(wide.index).index(SEASON)]
there = wide.loc[SEASON].notna().to_numpy()
assert np.abs(row[there] - wide.loc[SEASON].to_numpy()[there]).mean() < 0.1
assert np.isnan(row[: there.argmax()]).all()
# what the service answered is NDVI, interval after interval
if answer is not None:
    assert answer["start"].is_monotonic_increasing and answer["pixels"].sum() > 0
    assert answer["ndvi"].dropna().between(-1, 1).all()
