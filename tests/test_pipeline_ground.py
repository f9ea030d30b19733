"""Where districts lie, and what their soil is like by the user's rasters."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

from lesniva.errors import InputError
from lesniva.pipeline.ground import ground_of


def districts() -> gpd.GeoDataFrame:
    """Three in metres: one over a column and a half of the raster, one off its values, one off."""
    shapes = [box(0, 0, 1500, 2000), box(2000, 0, 3000, 1000), box(9000, 0, 9500, 500)]
    frame = gpd.GeoDataFrame({"adm_id": ["a", "b", "c"]}, geometry=shapes, crs="EPSG:32637")
    return frame.translate(500_000, 5_800_000).to_frame("geometry").assign(adm_id=frame["adm_id"])


def raster(path: Path, values: list[list[float]], crs: str | None = "EPSG:32637") -> Path:
    array = np.array(values, dtype=np.float32)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=3, count=1, dtype="float32", nodata=-9999,
        crs=crs, transform=from_origin(500_000, 5_802_000, 1000, 1000),
    ) as file:  # fmt: skip
        file.write(array, 1)
    return path


def test_soil_is_the_mean_over_the_exact_shares_of_cells(tmp_path: Path) -> None:
    awc = raster(tmp_path / "awc.tif", [[100, 160, -9999], [100, 160, -9999]])
    table = ground_of(districts(), {"awc": awc}).set_index("adm_id")
    assert table.loc["a", "soil_awc"] == pytest.approx((100 + 160 / 2) / 1.5)
    assert np.isnan(table.loc[["b", "c"], "soil_awc"]).all()
    # zone 37: its middle meridian, 39 degrees east, stands at 500 km
    assert table["lon"].between(39, 39.2).all()
    assert table["lat"].between(52.3, 52.4).all()


def test_districts_in_degrees_meet_a_raster_in_metres(tmp_path: Path) -> None:
    awc = raster(tmp_path / "awc.tif", [[100, 160, 90], [100, 160, 90]])
    metres = ground_of(districts(), {"awc": awc})["soil_awc"]
    degrees = ground_of(districts().to_crs("EPSG:4326"), {"awc": awc})["soil_awc"]
    np.testing.assert_allclose(degrees, metres, rtol=1e-3)


def test_all_rasters_that_tell_nothing_are_named_at_once(tmp_path: Path) -> None:
    empty = raster(tmp_path / "empty.tif", [[-9999] * 3] * 2)
    lost = raster(tmp_path / "lost.tif", [[1] * 3] * 2, crs=None)
    with pytest.raises(InputError, match=r"empty.tif has no value.*lost.tif.*no CRS.*none.tif"):
        ground_of(districts(), {"a": empty, "b": lost, "c": tmp_path / "none.tif"})
