"""Weather tables and grids: units, names, exact area means, faults in one message."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from shapely.geometry import box

from lesniva import weather
from lesniva.errors import InputError

DAYS = pd.date_range("2024-05-01", periods=4)


def districts() -> gpd.GeoDataFrame:
    """One district covers a cell and a half of a grid of one degree, the other is far smaller."""
    shapes = [box(38.5, 51.5, 40.0, 52.5), box(40.6, 52.6, 40.7, 52.7)]
    return gpd.GeoDataFrame({"adm_id": ["wide", "small"]}, geometry=shapes, crs="EPSG:4326")


def grid(**attrs: str) -> xr.Dataset:
    """Warmer by a degree a column, the same in all rows."""
    lat, lon = [53.0, 52.0, 51.0], [38.0, 39.0, 40.0, 41.0]
    values = np.broadcast_to([10.0, 11.0, 12.0, 13.0], (len(DAYS), 3, 4))
    data = xr.DataArray(
        values, coords={"time": DAYS, "latitude": lat, "longitude": lon}, attrs=attrs,
        dims=("time", "latitude", "longitude"),
    )  # fmt: skip
    return xr.Dataset({"t2m": data})


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"adm_id": "wide", "date": DAYS, "t2m_min": 5.0, "t2m_max": 17.0, "prec_mm": [0, 1, 2, 0]}
    )


def test_evapotranspiration_is_that_of_fao_56() -> None:
    # example 20: Lyon in July
    assert weather.hargreaves(14.8, 26.6, 45.72, 196) == pytest.approx(5.0, abs=0.05)
    # polar night
    assert weather.hargreaves(-20.0, -10.0, 70.0, 355) == 0


def test_a_tidy_table_gets_our_names_the_mean_and_the_evapotranspiration(tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"weather{suffix}"
        table().to_csv(path, index=False) if suffix == ".csv" else table().to_parquet(path)
        found = weather.read(path, districts())
        assert found["tmean"].tolist() == [11.0] * 4
        assert found["prec"].tolist() == [0, 1, 2, 0]
        assert found["et0"].between(2, 4).all()
        assert found["date"].tolist() == list(DAYS)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_grid_is_averaged_over_districts_by_the_exact_share_of_each_cell(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weather{suffix}"
    if suffix == ".nc":
        grid().to_netcdf(path)
    else:
        grid().to_zarr(path, consolidated=False)
    found = weather.read(path, districts()).groupby("adm_id")["tmean"].first()
    # 38.5 to 39.5 is the cell of 39, half of the cell of 40 follows
    assert found["wide"] == pytest.approx((11 + 12 * 0.5) / 1.5)
    assert found["small"] == pytest.approx(13.0)


def test_kelvin_and_metres_become_degrees_and_millimetres(tmp_path: Path) -> None:
    data = grid(units="K") + 273.15
    data["t2m"].attrs["units"] = "K"
    data["tp"] = (data["t2m"] * 0 + 0.002).assign_attrs(units="m")
    data.to_netcdf(tmp_path / "era.nc")
    found = weather.read(tmp_path / "era.nc", districts()).query("adm_id == 'small'")
    assert found["tmean"].to_numpy() == pytest.approx(13.0)
    assert found["prec"].to_numpy() == pytest.approx(2.0)


def test_the_depth_of_snow_is_in_centimetres(tmp_path: Path) -> None:
    path = tmp_path / "snow.nc"
    data = grid().rename({"t2m": "sde"}) / 100
    data["sde"].attrs["units"] = "m"
    data.to_netcdf(path)
    found = weather.read(path, districts()).set_index("adm_id")["snow_depth"]
    assert found["small"].tolist() == pytest.approx([13.0] * len(DAYS))


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    wrong = pd.concat([table(), table().iloc[:1]]).assign(prec_mm=[900, 1, 2, 0, 1])
    wrong.to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(InputError, match=r"1 rows repeat.*; prec is outside 0\.\.500 \(1×, 900\)"):
        weather.read(tmp_path / "w.csv", districts())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adm_id": "elsewhere"}, r"knows none of the districts \(it has elsewhere\)"),
        ({"date": "soon"}, "4 dates are no dates"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, change: dict[str, str], said: str) -> None:
    table().assign(**change).to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(InputError, match=said):
        weather.read(tmp_path / "w.csv", districts())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.csv", b"adm_id,date\n1,2\n", "lacks any of tmin, tmax"),
        ("w.csv", b"tmin\n1\n", "lacks adm_id, date|lacks adm_id; date"),
        ("w.nc", b"nothing", "cannot be read"),
        ("w.xlsx", b"", "neither .csv, .parquet, .nc nor .zarr"),
        ("w.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        weather.read(tmp_path / name, districts())
