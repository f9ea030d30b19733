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
# # The harvest forecast: how good was it, and why does it say what it says?
#
# A forecast is worth what it was worth in past years. We make the published forecast again from the
# published NDVI of the districts and the yield statistics, and look at its past and its reasons.
#
# Run `make demo` first: it writes what is read here. **The scenes and the yields are synthetic.**

# %%
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lesniva import features, forecast, yields

# the folder in which `make demo` ran
HOME = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "archive").exists())
OUT, CROP = HOME / "out" / "demo-harvest", "winter_wheat"

published = pd.read_csv(OUT / "forecast.csv", parse_dates=["cutoff"])
published = published[published["crop"] == CROP].set_index("adm_id")
YEAR, CUTOFF = int(published["year"].iloc[0]), f"{published['cutoff'].iloc[0]:%m-%d}"
# the GeoPackage has every digit, the CSV file four decimals
observed = gpd.read_file(OUT / "lesniva.gpkg", layer="district_ndvi")
statistics = yields.read(HOME / "archive" / "demo" / "farmland" / "yields.csv")
print(f"{CROP} {YEAR}, by what was known on {CUTOFF}")

# %% [markdown]
# ## What goes in
#
# One row a district and year. Nothing after the cut-off has any say: the same function makes the rows
# of the past and the row of today.

# %%
# a harvest year begins in September
years = sorted((observed["date"] + pd.DateOffset(months=4)).dt.year.unique())
shapes = gpd.read_file(OUT / "lesniva.gpkg", layer="districts")
point = shapes.representative_point()
places = pd.DataFrame({"adm_id": shapes["adm_id"], "lat": point.y, "lon": point.x})
table = features.features(observed, crop=CROP, years=years, cutoff=CUTOFF, cover="winter", places=places)
table.loc[table["year"] == YEAR, ["adm_id", "ndvi_peak", "sos_doy", "ndvi_int", "qa_n_obs"]].round(3)

# %% [markdown]
# ## How good it was
#
# Each past year is forecast from the years before it, as it would have been then (walk-forward), beside
# forecasts that need no satellite.

# %%
known = statistics[(statistics["crop"] == CROP) & (statistics["year"] < YEAR)]
history = forecast.hindcast(table, known, crop=CROP, cutoff=CUTOFF)
print(history.statement)
history.metrics[["n", "rmse", "nrmse", "bias", "skill_plain", "coverage80"]].round(3)

# %%
past = history.rows
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for year, rows in past.groupby("year"):
    left.scatter(rows["observed_t_ha"], rows["yield_t_ha"], label=str(year), s=22)
low, high = past[["observed_t_ha", "yield_t_ha"]].min().min(), past[["observed_t_ha", "yield_t_ha"]].max().max()
left.plot([low, high], [low, high], color="grey", lw=0.8)
left.set(xlabel="harvested, t/ha", ylabel="forecast, t/ha", title="Past years, each from those before it")
left.legend(fontsize=8)
errors = history.metrics["nrmse"].sort_values()
right.barh(errors.index[::-1], errors[::-1], color=["#08519c" if name == "forecast" else "#a9a9a9" for name in errors.index[::-1]])
right.set(title="Error in past years, % of the mean yield");

# %% [markdown]
# Whether the season's imagery helped is decided by rules that were fixed before (see the method page).
# Where the sentence above claims no skill, take the forecast for what past yields say.
#
# ## This year

# %%
model = forecast.fit(history, year=YEAR)
districts = forecast.predict(model, table).set_index("adm_id")
districts[["yield_t_ha", "q10_t_ha", "q90_t_ha", "plain_t_ha", "model_weight", "note"]].round(2)

# %%
ordered = districts.sort_values("yield_t_ha")
fig, ax = plt.subplots(figsize=(9, 0.32 * len(ordered) + 1.2), layout="constrained")
ax.hlines(ordered.index, ordered["q10_t_ha"], ordered["q90_t_ha"], color="#8a8a8a", lw=3)
ax.scatter(ordered["yield_t_ha"], ordered.index, color="#08519c", zorder=3, label="forecast, 80 % interval")
ax.scatter(ordered["plain_t_ha"], ordered.index, marker="|", s=120, color="#d8455c", zorder=3, label="by past yields alone")
ax.set(xlabel="t/ha", title=f"{CROP.replace('_', ' ')} {YEAR}")
ax.legend();

# %% [markdown]
# ## Why it says so
#
# Contributions of the trees, in t/ha, against what they would say without seeing the season; and the
# past seasons that looked most like this one.

# %%
reasons = forecast.explain(model, table)
for text in reasons["text_en"].head(6):
    print("-", text)

# %%
like = forecast.analogues(history, table, year=YEAR)
like.head(5)

# %% [markdown]
# ## What this page claims

# %%
# what we made again is what was published
assert set(districts.index) == set(published.index)
both = districts["yield_t_ha"].to_frame("ours").join(published["yield_t_ha"])
print((both["ours"] - both["yield_t_ha"]).abs().max())
assert np.allclose(both["ours"], both["yield_t_ha"], atol=0.02)
# no past year was forecast from itself or later: the errors are those of a walk forward
assert past["year"].max() < YEAR
# the interval surrounds the forecast, and held most of the past
assert (districts["q10_t_ha"] <= districts["yield_t_ha"]).all()
assert (districts["yield_t_ha"] <= districts["q90_t_ha"]).all()
inside = past["observed_t_ha"].between(past["q10_t_ha"], past["q90_t_ha"]).mean()
assert 0.5 <= inside <= 1
# baselines stand beside the forecast, and reasons add up to what they claim to explain
assert {"forecast", "mean", "last", "own_trend"} <= set(history.metrics.index)
if len(reasons):
    moved = reasons.groupby("adm_id")["contribution_t_ha"].sum()
    base = reasons.groupby("adm_id")["base_t_ha"].first()
    said = districts["model_weight"] * (districts["boosters_t_ha"] - base)
    assert np.allclose(moved, said.reindex(moved.index), atol=0.02)
