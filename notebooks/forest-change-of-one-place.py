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
# # Forest change of one place
#
# Why is there an alert here? We take the largest confirmed alert of the last run, read the series of a
# pixel inside it, fit the model of its history, and watch the evidence grow date by date.
#
# Run `make demo` first: it writes the archive and the alerts that are read here. **The scenes are
# synthetic.**

# %%
import datetime as dt
import json
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from lonboard import Map, PolygonLayer
from lonboard.colormap import apply_continuous_cmap

from lesniva import aoi, change, cube, indices, masks, sources
from lesniva.conventions import Status, from_day_number

# the folder in which `make demo` ran
HOME = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "archive").exists())
ARCHIVE, OUT = HOME / "archive" / "demo" / "forest", HOME / "out" / "demo-forest"

# %% [markdown]
# ## The alert

# %%
alerts = gpd.read_parquet(OUT / "alerts.parquet")
sure = alerts[alerts["status"] == "confirmed"]
alert = sure[sure["channel"] == "removal"].sort_values("area_ha").iloc[-1]
alert.drop("geometry")

# %% [markdown]
# The change lies between `date_min` (last clear normal observation) and `date_max` (first anomaly).
# `channel` says what told of it: `removal` is NBR, which we follow below; with `monitor.health` there are
# alerts of `health` too, told by chlorophyll and water alone.
#
# All confirmed alerts on a map that can be moved, the larger the redder; a click tells of one. It shows
# where the notebook is open in a browser, and fetches nothing.

# %% tags=["interactive"]
size = np.clip(sure["area_ha"] / 10, 0, 1).to_numpy()
shown = PolygonLayer.from_geopandas(
    sure[["alert_id", "channel", "cause", "area_ha", "district_en", "geometry"]],
    auto_downcast=False,
    get_fill_color=apply_continuous_cmap(size, plt.colormaps["YlOrRd"], alpha=0.7),
    line_width_min_pixels=1,
)
Map(shown, basemap=None)

# %% [markdown]
# ## The series of the place
#
# The index is NBR, which falls when canopy goes. Only days of the vegetation season count, and the
# haze test of the pipeline is left out here: scattered low values are clouds that were missed.

# %%
run = json.loads((OUT / "run.json").read_text(encoding="utf-8"))
first, last, until = (
    dt.date.fromisoformat(run["config"][section][key])
    for section, key in (("period", "start"), ("period", "end"), ("monitor", "history_end"))
)
west, south, east, north = alert.geometry.bounds
area = aoi.load(
    HOME / "aoi" / "lipetsk.geojson", clip=(west - 0.004, south - 0.004, east + 0.004, north + 0.004)
)
(grid,) = aoi.grids(area, resolution=20, block_size=64)
items = sources.search(
    kind="catalog",
    href=str(ARCHIVE / "catalog.json"),
    area=area.outline,
    start=first,
    end=last,
    months=[5, 6, 7, 8, 9, 10],
)
days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
bands = cube.load(days, grid.geobox, ("nir08", "swir22", "scl"))
nbr = indices.index("nbr", bands, clear=bands["scl"].isin([4, 5]))

inside = gpd.GeoSeries([alert.geometry], crs="EPSG:4326").to_crs(str(grid.geobox.crs))
point = inside.representative_point().iloc[0]
pixel = {"x": point.x, "y": point.y}
series = nbr.sel(pixel, method="nearest")

# %% [markdown]
# ## The history, and what it expects
#
# `change.fit` takes the days up to the end of the history: harmonics of the year, fitted robustly.
# `change.expected` says what the model expects on any day.

# %%
stack = indices.to_scaled(nbr)  # integers, as the kernels take them
dates = nbr["time"].to_numpy()
old = dates <= np.datetime64(until)
model = change.fit(stack[old], dates[old])
smooth_days = np.arange(dates[0], dates[-1] + np.timedelta64(1, "D"), np.timedelta64(5, "D"))
curve = change.expected(model, smooth_days)
at = {name: int(np.abs(nbr[name].to_numpy() - pixel[name]).argmin()) for name in ("y", "x")}
sigma = float(model["sigma"].isel(at))
print(f"{int(model['n_history'].isel(at))} clear observations, noise of the index {sigma:.3f}")

# %% [markdown]
# ## Monitoring, a date at a time
#
# `change.update` may be given one date or a hundred: the state is the same, bit for bit.

# %%
state = change.start(model, channel="nbr")
story = []
for number in np.flatnonzero(~old):
    state = change.update(state, stack[number : number + 1], dates[number : number + 1])
    found = change.events(state).isel(at)
    story.append((dates[number], float(found["probability"]), int(found["status"])))
story = pd.DataFrame(story, columns=["date", "probability", "status"]).set_index("date")
end = change.events(state)
mine = end.isel(at)
first_anomaly, confirmed = (
    pd.Timestamp(from_day_number(int(mine[name])).item()) for name in ("first_anomaly", "confirmed")
)
print(f"first anomaly {first_anomaly:%Y-%m-%d}, confirmed {confirmed:%Y-%m-%d}")

# %%
fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(10, 5.5), sharex=True, layout="constrained", height_ratios=(3, 1)
)
expected = curve.isel(at)
top.fill_between(smooth_days, expected - 2 * sigma, expected + 2 * sigma, color="#c9e3c0", label="expected, ± 2 σ")
top.scatter(dates, series, s=14, color="#0b4a1d", label="seen clear", zorder=3)
top.axvline(np.datetime64(until), color="black", lw=0.8, ls=":")
top.annotate(" end of the history", (np.datetime64(until), 0.02), fontsize=8)
for day, word, colour in (
    (first_anomaly, "first anomaly", "#f98e2b"),
    (confirmed, "confirmed", "#d7191c"),
):
    top.axvline(day, color=colour, label=word)
named = f"alert {alert['alert_id'][:8]} ({alert['channel']}, {alert['area_ha']:.1f} ha)"
top.set(ylabel="NBR", title=f"One pixel of {named}")
top.legend(loc="lower left", fontsize=8)
bottom.step(story.index, story["probability"], where="post", color="#d7191c")
bottom.set(ylabel="probability", ylim=(-0.05, 1.05));

# %% [markdown]
# ## From pixels to the alert
#
# The neighbours of the pixel tell the same story; together they are the polygon. The alert of the run
# knows more than we do here: scenes were corrected by all forests of the area, haze was masked, and a
# second index may have borne witness. So its dates may differ from ours by an observation or two.

# %%
# fields and meadows change every year; only forest is watched
forest = masks.forest(ARCHIVE / "forest_cover.tif", grid.geobox, min_cover=30)
changed = forest & end["status"].isin([int(Status.LOW), int(Status.CONFIRMED), int(Status.REARMED)])
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
before = nbr.sel(time=slice(None, str(alert["date_min"])[:10])).isel(time=slice(-12, None)).median("time")
after = nbr.sel(time=slice(str(alert["date_max"])[:10], None)).isel(time=slice(0, 12)).median("time")
(after - before).plot(ax=left, cmap="RdYlGn", vmin=-0.6, vmax=0.6, cbar_kwargs={"label": ""})
left.set_title("NBR after minus before")
changed.plot(ax=right, cmap="Reds", add_colorbar=False)
right.set_title("Changed pixels, and the alert of the run")
for ax in (left, right):
    inside.boundary.plot(ax=ax, color="black")
    ax.set(aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")

# %% [markdown]
# ## What this page claims

# %%
# the map shows every confirmed alert
assert len(shown.table) == len(sure) > 0
# the pixel's change is confirmed, and never dated before the run's last normal observation
assert int(mine["status"]) in (Status.CONFIRMED, Status.REARMED)
assert first_anomaly > pd.Timestamp(until) and confirmed >= first_anomaly
assert first_anomaly >= pd.Timestamp(alert["date_min"])
# our simple reading and the run agree within two months
assert abs(first_anomaly - pd.Timestamp(alert["date_max"])) <= pd.Timedelta(days=60)
# most of the alert is changed in our reading too, and the index has fallen there
shares = np.asarray([
    bool(changed.sel(x=p.x, y=p.y, method="nearest"))
    for p in inside.sample_points(60, rng=1).explode(index_parts=False)
])
assert shares.mean() > 0.6
assert float(mine["magnitude"]) < -3 * sigma
# the truth of the archive: something happened here, and not after the alert says so
truth = gpd.read_file(ARCHIVE / "truth" / "events.gpkg")
event = truth.loc[truth.intersection(inside.union_all()).area.idxmax()]
assert pd.Timestamp(event["date_start"]) <= pd.Timestamp(alert["date_max"])
print(f"the truth: {event['cause']}, {event['date_start']} to {event['date_end']}")
