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
# # Bring your own fields and yields
#
# Field boundaries as you have them (GeoPackage, Shapefile, GeoJSON, any CRS) and yields as Rosstat
# prints them (c/ha, decimal commas, Russian names) become an area file and a table that every part of
# Lesniva takes. What is doubtful is told, not mended in silence.
#
# Run `make demo` first: it writes the archive that is read here. **The scenes are synthetic**, and the
# fields and yields are invented in the cells below.

# %%
import datetime as dt
import tempfile
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import shapely

from lesniva import aoi, cube, indices, sources, yields, zonal
from lesniva.errors import InputError

# the folder in which `make demo` ran
HOME = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "archive").exists())
SCENES = str(HOME / "archive" / "demo" / "farmland" / "catalog.json")
MINE = Path(tempfile.mkdtemp(prefix="my-farm-"))

# %% [markdown]
# ## Fields
#
# Four fields, as an agronomist exports them: Russian names, the local UTM zone, and one outline that
# crosses itself.

# %%
oblast = aoi.load(HOME / "aoi" / "lipetsk.geojson")
forecast = pd.read_csv(HOME / "out" / "demo-harvest" / "forecast.csv")
season = int(forecast["year"].iloc[0]) - 1
(scene, *_) = sources.search(
    kind="catalog",
    href=SCENES,
    area=oblast.outline,
    start=dt.date(season, 5, 1),
    end=dt.date(season, 8, 31),
)
district = forecast.dropna(subset=["boosters_t_ha"])["adm_id"].iloc[0]
covered = oblast.districts.geometry[district].intersection(shapely.geometry.shape(scene.geometry))
centre = gpd.GeoSeries([covered.representative_point()], crs="EPSG:4326").to_crs("EPSG:32637")[0]
squares = [
    shapely.box(centre.x + dx, centre.y + dy, centre.x + dx + 600, centre.y + dy + 600)
    for dx in (0, 700)
    for dy in (0, 700)
]
x, y = centre.x + 700, centre.y + 700
squares[3] = shapely.Polygon([(x, y), (x + 600, y + 600), (x + 600, y), (x, y + 600)])  # a bow tie
fields = gpd.GeoDataFrame(
    {"Название": ["Поле 1", "Поле 2", "Поле 3", "Поле 4"]}, geometry=squares, crs="EPSG:32637"
)
fields.to_file(MINE / "поля.gpkg")

# %%
farm, report = aoi.import_boundaries(
    MINE / "поля.gpkg", id="farm", name_en="My farm", name_ru="Моё хозяйство", name_column="Название"
)
aoi.save(farm, MINE / "farm.geojson")
print("\n".join(report.lines()))

# %% [markdown]
# The same on the command line: `lesniva aoi import FILE --out farm.geojson`. A pipeline file may name
# the result as its area, and then every field is a district of the forecast.
#
# ## NDVI of the fields

# %%
farm = aoi.load(MINE / "farm.geojson")
(grid,) = aoi.grids(farm, resolution=120, block_size=64)
items = sources.search(
    kind="catalog",
    href=SCENES,
    area=farm.outline,
    start=dt.date(season, 4, 1),
    end=dt.date(season, 10, 31),
)
days = cube.solar_days(items, {item.id: sources.assets(item) for item in items})
bands = cube.load(days, grid.geobox, ("red", "nir", "scl"))
ndvi = indices.index("ndvi", bands, clear=bands["scl"].isin([4, 5]))
mine = farm.districts.reset_index()
curves = zonal.series(mine, ndvi, grid.geobox)
curves = curves[curves["clear_share"] > 0.5].merge(mine[["adm_id", "name_ru"]], on="adm_id")

fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for name, one in curves.groupby("name_ru"):
    ax.plot(one["date"], one["ndvi"], marker="o", ms=3, label=name)
ax.set(ylabel="NDVI", title=f"My fields, {season}", ylim=(0, 1))
ax.legend();

# %% [markdown]
# ## Yields
#
# A table as Rosstat publishes it: regions and years, c/ha, decimal commas. One value of 2021 was typed
# without its comma, and one name is of no field.

# %%
text = """Регион;2017;2018;2019;2020;2021;2022;2023;2024
Поле 1 (район);38,1;41,3;39,8;44,0;432,0;40,9;42,2;45,1
Поле 2 (район);35,0;37,2;36,8;40,1;38,8;37,5;39,9;41,0
Поле 9 (район);35,0;37,2;36,8;40,1;38,8;37,5;39,9;41,0
"""
(MINE / "урожайность пшеница озимая.csv").write_text(text, encoding="cp1251")
names = {f"{row.name_ru} (район)": row.adm_id for row in mine.itertuples()}
imported = yields.import_table(
    MINE / "урожайность пшеница озимая.csv", match=names, crop="winter_wheat"
)
imported.report

# %%
checked = yields.flag(imported.yields)
checked[checked["flags"] != ""]

# %% [markdown]
# The doubtful value is marked, not dropped: only you know what was harvested. Here the comma is put
# back; then the table is what a pipeline file names as `harvest.yields`.

# %%
table = imported.yields.copy()
table.loc[table["yield_t_ha"] > 20, "yield_t_ha"] /= 10
yields.write(table, MINE / "yields.csv")
yields.read(MINE / "yields.csv").head()

# %% [markdown]
# A file that is wrong is refused with all its faults at once:

# %%
(MINE / "wrong.csv").write_text("adm_id,crop,year,yield_t_ha\na,wheat,2021,-3\na,wheat,2021,many\n")
try:
    yields.read(MINE / "wrong.csv")
    refused = ""
except InputError as error:
    refused = str(error)
print(refused.replace(str(MINE), "…"))

# %% [markdown]
# ## What this page claims

# %%
# fields keep their names, and a mended bow tie is half of its square; the rest is whole
hectares = pd.Series(aoi.areas_km2(farm.districts.geometry) * 100, index=farm.districts["name_ru"])
assert np.allclose(hectares[["Поле 1", "Поле 2", "Поле 3"]], 36, rtol=0.01)
assert 17 < hectares["Поле 4"] < 19
# NDVI is there for every field, and is NDVI
assert set(curves["name_ru"]) == set(mine["name_ru"])
assert curves["ndvi"].between(-0.2, 1).all()
# 41.3 c/ha are 4.13 t/ha; the unknown field was dropped and said so; the typing error was flagged
first = imported.yields.query("adm_id == @names['Поле 1 (район)'] and year == 2018")
assert np.isclose(first["yield_t_ha"].iloc[0], 4.13)
assert (imported.report["outcome"] == "dropped").sum() == 1
flagged = checked[checked["flags"].str.contains("high")]
assert list(flagged["year"]) == [2021] and np.isclose(flagged["yield_t_ha"].iloc[0], 43.2)
assert np.isclose(yields.read(MINE / "yields.csv")["yield_t_ha"].max(), 4.51)
assert refused
