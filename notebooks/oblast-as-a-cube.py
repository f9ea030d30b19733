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
# # An oblast as a cube
#
# How green is the oblast this June, district by district, and how much of it has been seen at all?
# We go from an area file and a catalog of scenes to a labelled cube, and from there to a map.
#
# Run `make demo` first: it writes the archive that is read here. **The scenes are synthetic**, and they
# cover a square in the middle of the oblast.

# %%
import datetime as dt
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from lonboard import Map, PolygonLayer
from lonboard.colormap import apply_continuous_cmap

from lesniva import aoi, cube, indices, sources, zonal

# the folder in which `make demo` ran
HOME = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "archive").exists())

# %% [markdown]
# ## The area, its districts and its grid
#
# A grid is a value: CRS, transform and shape travel together. An area that reaches into several UTM
# zones has a grid in each; Lipetsk oblast has one.

# %%
area = aoi.load(HOME / "aoi" / "lipetsk.geojson")
(grid,) = aoi.grids(area, resolution=480, block_size=256)
print(f"{area.name_en}: {len(area.districts)} districts")
print(f"{grid.id}: {grid.geobox.shape.x} × {grid.geobox.shape.y} pixels of {grid.resolution:g} m")

# %% [markdown]
# ## The scenes
#
# Whatever the source is (a local catalog, a STAC API, Sentinel Hub), a search ends as STAC items.
# `solar_days` groups them into days and decides, scene by scene, which offset its numbers need.

# %%
scenes = HOME / "archive" / "demo" / "farmland" / "catalog.json"
season = pd.read_csv(HOME / "out" / "demo-harvest" / "forecast.csv")["year"].iloc[0]
items = sources.search(
    kind="catalog",
    href=str(scenes),
    area=area.outline,
    start=dt.date(season, 4, 1),
    end=dt.date(season, 6, 30),
)
days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
print(f"{len(items)} scenes on {len(days)} days, {days[0].date} to {days[-1].date}")

# %% [markdown]
# ## The cube
#
# `cube.load` reads now: float32 reflectance with NaN, dims `time, y, x`. For more than fits into
# memory take the pipeline, which works block by block.

# %%
bands = cube.load(days, grid.geobox, ("red", "nir", "scl"))
clear = bands["scl"].isin([4, 5])  # vegetation and bare soil
ndvi = indices.index("ndvi", bands, clear=clear)
ndvi

# %%
seen = clear.mean(("y", "x")).to_series()
last = ndvi.sel(time=slice(f"{season}-06-01", None)).median("time")
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
last.plot(ax=left, cmap="YlGn", vmin=0.1, vmax=0.9)
area.districts.to_crs(str(grid.geobox.crs)).boundary.plot(ax=left, color="black", lw=0.5)
left.set(title=f"NDVI, June {season} (median)", aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
right.bar(seen.index, 100 * seen, width=2, color="#2f8534")
right.set(title="Clear pixels in the box of the oblast, %", ylim=(0, 100))
right.tick_params(axis="x", rotation=45)

# %% [markdown]
# ## District by district
#
# Pixels that a district's boundary cuts count by their share. A day on which little was clear says
# little: `clear_share` goes with every value.

# %%
districts = area.districts.reset_index()
curves = zonal.series(districts, ndvi, grid.geobox)
good = curves[curves["clear_share"] > 0.3]
june = good[good["date"] >= f"{season}-06-01"].groupby("adm_id")["ndvi"].median()
table = districts[["adm_id", "name_en"]].assign(ndvi_june=districts["adm_id"].map(june).round(3))
table.sort_values("ndvi_june", ascending=False).head(8)

# %%
fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for _, one in good.groupby("adm_id"):
    ax.plot(one["date"], one["ndvi"], color="#78b74a", lw=0.8, alpha=0.7)
whole = good.groupby("date")["ndvi"].median()
ax.plot(whole.index, whole, color="#0b4a1d", lw=2, marker="o", label="median of the districts")
ax.set(title=f"NDVI of the districts, {season}", ylabel="NDVI")
ax.legend();

# %% [markdown]
# The same on a map that can be moved, the greener the higher its NDVI; a click tells of a district. It
# shows where the notebook is open in a browser, and fetches nothing.

# %% tags=["interactive"]
mapped = districts[["name_en", "name_ru", "geometry"]].assign(ndvi_june=table["ndvi_june"])
shown = PolygonLayer.from_geopandas(
    mapped,
    auto_downcast=False,
    get_fill_color=apply_continuous_cmap(
        mapped["ndvi_june"].fillna(0).to_numpy(), plt.colormaps["YlGn"], alpha=0.8
    ),
    line_width_min_pixels=1,
)
Map(shown, basemap=None)

# %% [markdown]
# ## What this page claims

# %%
# the map shows every district
assert len(shown.table) == len(area.districts)
# one slice a solar day, rising; nothing is invented where nothing was clear
assert ndvi.dims == ("time", "y", "x")
assert (np.diff(ndvi["time"]) > np.timedelta64(0, "D")).all()
assert ndvi.isnull().where(~clear).sum() == (~clear).sum()
# an index is an index
assert float(ndvi.min()) >= -1 and float(ndvi.max()) <= 1
# every district with scenes has a value, and by June the oblast is greener than on bare April soil
assert june.notna().all() and len(june) >= 4
assert whole[whole.index >= f"{season}-06-01"].max() > whole[whole.index < f"{season}-05-01"].min()
