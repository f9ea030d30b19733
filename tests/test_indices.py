"""Indices against plain float64 NumPy, over all that the sensor can send."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesniva import indices
from lesniva.conventions import BANDS, INDEX_SCALE, NODATA_INT16
from lesniva.errors import InputError

SHAPE = (2, 4)

DN = st.integers(-1000, 16_000) | st.just(NODATA_INT16) | st.integers(-120, 120)
"""Harmonised DN: negative after the offset, dark, bright, missing."""


def formula(name: str, b: dict[str, Any]) -> Any:
    """Numerator and denominator as in the literature, of reflectance."""
    if name == "evi":
        return 2.5 * (b["nir"] - b["red"]), b["nir"] + 6 * b["red"] - 7.5 * b["blue"] + 1
    if name == "evi2":
        return 2.5 * (b["nir"] - b["red"]), b["nir"] + 2.4 * b["red"] + 1
    if name == "crswir":
        line = b["nir08"] + (b["swir22"] - b["nir08"]) * (1610.4 - 864) / (2185.7 - 864)
        return b["swir16"], line
    high, low = {
        "ndvi": ("nir", "red"),
        "nbr": ("nir08", "swir22"),
        "ndmi": ("nir08", "swir16"),
        "ndre": ("nir08", "rededge1"),
        "ndsi": ("green", "swir16"),
    }[name]
    return b[high] - b[low], b[high] + b[low]


LIMIT = {"evi": 1.5, "evi2": 1.5, "crswir": 3.0}
"""Largest value that means something; 1 for all others."""


@pytest.mark.parametrize("name", indices.INDICES)
@settings(max_examples=50)
@given(data=st.data())
def test_index_is_its_formula_or_missing_whatever_the_sensor_sends(name, data):
    spec = indices.INDICES[name]
    bands = {band: data.draw(hnp.arrays(np.int16, SHAPE, elements=DN)) for band in spec.bands}
    clear = data.draw(hnp.arrays(np.bool_, SHAPE))
    out = np.full(SHAPE, 7, dtype=np.int16)
    indices.scaled(name, bands, clear, out)

    known = clear & np.all([values != NODATA_INT16 for values in bands.values()], axis=0)
    numerator, denominator = formula(
        name, {band: values.astype(np.float64) / 10_000 for band, values in bands.items()}
    )
    limit = LIMIT.get(name, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerator / denominator
    meant = known & (denominator >= 0.02) & (np.abs(ratio) <= limit)
    # within a rounding error of a limit either answer is right
    doubtful = (np.abs(denominator - 0.02) < 1e-9) | (np.abs(np.abs(ratio) - limit) < 1e-9)
    present = out != NODATA_INT16
    assert (present == meant)[~doubtful].all()
    both = present & meant
    assert np.abs(out[both] / INDEX_SCALE - ratio[both]).max(initial=0) <= 0.5 / INDEX_SCALE + 1e-9
    assert np.abs(out[present]).max(initial=0) <= limit * INDEX_SCALE


@pytest.mark.parametrize(
    ("name", "reflectance", "expected"),
    [
        ("crswir", {"nir08": 0.30, "swir16": 0.15, "swir22": 0.07}, 0.88176820644197),
        ("ndvi", {"nir": 0.45, "red": 0.05}, 0.8),
        ("ndvi", {"nir": 0.3, "red": -0.01}, np.nan),  # 1.07: out of range
        ("ndvi", {"nir": 0.02, "red": -0.05}, np.nan),  # −2.33
        ("ndvi", {"nir": 0.008, "red": 0.004}, np.nan),  # two dark numbers
        ("nbr", {"nir08": 0.28, "swir22": 0.07}, 0.6),
        ("ndmi", {"nir08": 0.3, "swir16": 0.2}, 0.2),
        ("ndre", {"nir08": 0.36, "rededge1": 0.12}, 0.5),
        ("ndsi", {"green": 0.8, "swir16": 0.08}, 0.72 / 0.88),
        ("evi", {"nir": 0.4, "red": 0.05, "blue": 0.03}, 0.875 / 1.475),
        ("evi2", {"nir": 0.4, "red": 0.05}, 0.875 / 1.52),
    ],
)
def test_index_of_known_reflectance(name, reflectance, expected):
    cube = xr.Dataset({band: (("y", "x"), [[value]]) for band, value in reflectance.items()})
    found = indices.index(name, cube).item()
    assert found == pytest.approx(expected, abs=0.5 / INDEX_SCALE + 1e-7, nan_ok=True)


def cube_of(shape: tuple[int, ...] = (2, 3, 4)) -> xr.Dataset:
    rng = np.random.default_rng(5)
    dims = ("time", "y", "x")[-len(shape) :]
    coords = {"y": np.arange(shape[-2]) * -10.0, "x": np.arange(shape[-1]) * 10.0}
    return xr.Dataset(
        {
            band: (
                dims,
                rng.integers(200, 6000, shape).astype(np.float32) / 10_000,
                {"dn_offset": "-1000"},
            )
            for band in ("red", "nir")
        },
        coords=coords,
    )


def test_attributes_are_the_indexs_own_not_the_bands():
    found = indices.index("ndvi", cube_of())
    assert found.name == "ndvi"
    assert found.attrs == {
        "long_name": "normalised difference vegetation index",
        "units": "1",
        "formula": "(nir - red) / (nir + red)",
        "references": "Rouse et al. 1974",
    }


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (0, 3, 4)])
def test_result_has_the_place_and_time_of_its_bands(shape):
    cube = cube_of(shape)
    found = indices.index("ndvi", cube)
    assert found.dtype == np.float32
    xr.testing.assert_identical(found.coords.to_dataset(), cube["red"].coords.to_dataset())
    expected = ((cube["nir"] - cube["red"]) / (cube["nir"] + cube["red"])).values
    np.testing.assert_allclose(found, expected, atol=6e-5)


def test_what_is_not_clear_is_missing_whatever_the_order_of_dimensions():
    cube = cube_of()
    clear = xr.zeros_like(cube["red"], dtype=bool)
    clear[1, 2, 3] = True
    turned = cube.assign(nir=cube["nir"].transpose("x", "time", "y"))
    for given_cube, given_clear in ((cube, clear), (turned, clear.transpose("y", "x", "time"))):
        found = indices.index("ndvi", given_cube, clear=given_clear)
        assert found.dims == ("time", "y", "x")
        assert np.argwhere(np.isfinite(found.values)).tolist() == [[1, 2, 3]]
        assert found.values[1, 2, 3] == indices.index("ndvi", cube).values[1, 2, 3]


def test_missing_and_infinite_reflectance_is_missing_index():
    cube = cube_of((1, 4))
    cube["red"].values[0, :3] = [np.nan, np.inf, -np.inf]
    assert np.isnan(indices.index("ndvi", cube).values).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("name", indices.INDICES)
def test_catalogue_of_indices_is_whole(name):
    spec = indices.INDICES[name]
    assert spec.name == name
    assert set(spec.bands) <= set(BANDS)
    assert spec.reference[-4:].isdigit()
    assert all(band in spec.formula for band in spec.bands)


def test_damage_raises_crswir_and_lowers_the_others():
    # closed spruce, and the same stand after bark beetles
    healthy = {"nir08": 2600, "swir16": 1100, "swir22": 500, "rededge1": 700, "nir": 2500}
    dead = {"nir08": 2000, "swir16": 1900, "swir22": 1200, "rededge1": 1000, "nir": 1900}
    healthy |= {"red": 250, "blue": 200}
    dead |= {"red": 700, "blue": 400}
    for name, spec in indices.INDICES.items():
        if name == "ndsi":
            continue
        before, after = (np.empty((1, 1), dtype=np.int16) for _ in range(2))
        for values, out in ((healthy, before), (dead, after)):
            bands = {band: np.full((1, 1), values[band], np.int16) for band in spec.bands}
            indices.scaled(name, bands, np.ones((1, 1), dtype=bool), out)
        assert (after < before) == spec.falls_with_damage, name


def test_bands_of_several_indices_come_once_in_order():
    assert indices.bands_of(["nbr", "ndmi"]) == ("nir08", "swir22", "swir16")
    assert indices.bands_of([]) == ()


def test_unknown_names_are_all_told_with_the_known_ones():
    message = r"unknown index NDVI, savi: use one of ndvi, nbr"
    with pytest.raises(InputError, match=message):
        indices.bands_of(["NDVI", "nbr", "savi"])
    with pytest.raises(InputError, match="unknown index savi: use one of"):
        indices.index("savi", cube_of())
    with pytest.raises(InputError, match="unknown index savi: use one of"):
        indices.scaled("savi", {}, np.ones((1, 1), bool), np.empty((1, 1), np.int16))


def test_lacking_bands_are_named():
    with pytest.raises(InputError, match=r"nbr needs nir08, swir22; the cube lacks nir08, swir22"):
        indices.index("nbr", cube_of())


@given(hnp.arrays(np.int16, (5,)))
def test_scaled_values_come_back_as_float32_with_nan(values):
    found = indices.from_scaled(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), values == NODATA_INT16)
    present = values != NODATA_INT16
    np.testing.assert_allclose(found[present], values[present] / 10_000, rtol=1e-6)


@given(hnp.arrays(np.int16, SHAPE, elements=st.integers(-32768, 32767)))
def test_an_index_survives_the_way_to_floats_and_back(numbers):
    floats = xr.DataArray(indices.from_scaled(numbers), dims=("y", "x"))
    back = indices.to_scaled(floats)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, numbers)
