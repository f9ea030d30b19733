import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lesniva.conventions import (
    NODATA_INT16,
    Coverage,
    Cropland,
    Status,
    from_day_number,
    to_day_number,
)
from lesniva.publish.layers import LAYERS, encode


@pytest.mark.parametrize(
    ("name", "states"), [("status", Status), ("coverage", Coverage), ("cropland", Cropland)]
)
def test_every_state_has_a_class_except_no_data(name, states):
    assert {known.value for known in LAYERS[name].classes} == set(states) - {states.NO_DATA}
    assert LAYERS[name].nodata == states.NO_DATA


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_layer_is_whole(layer):
    limits = np.iinfo(layer.dtype)
    assert limits.min <= layer.nodata <= limits.max
    assert bool(layer.classes) == (layer.kind == "classes")
    assert bool(layer.ramp) == (layer.kind == "quantity")
    assert layer.nodata not in {known.value for known in layer.classes}
    values = [stop.value for stop in layer.ramp]
    assert values == sorted(values)


@given(st.integers(1, 2**16 - 1))
def test_yyyymmdd_is_the_date_written_without_dashes(day):
    date = from_day_number(np.uint16(day)).item()
    number = encode(LAYERS["first_anomaly"], np.array([day], np.uint16))
    assert number.tolist() == [int(f"{date:%Y%m%d}")]


def test_no_date_stays_no_date():
    nothing = to_day_number(np.array(["NaT"], "datetime64[D]"))
    assert encode(LAYERS["last_normal"], nothing).tolist() == [0]


@given(arrays(np.float32, 20, elements=st.floats(-10, 10, width=32) | st.just(np.nan)))
def test_an_index_survives_within_half_a_step_or_at_the_end_of_the_range(values):
    numbers = encode(LAYERS["ndvi"], values)
    assert numbers.dtype == np.int16
    missing = np.isnan(values)
    np.testing.assert_array_equal(numbers == NODATA_INT16, missing)
    kept = np.clip(values[~missing], -3.2767, 3.2767)
    np.testing.assert_allclose(numbers[~missing] / 10_000, kept, atol=0.51e-4)


def test_a_probability_never_becomes_the_missing_value():
    assert encode(LAYERS["probability"], [300.0, -4.0, np.nan]).tolist() == [254, 0, 255]


def test_numbers_of_the_file_pass_unchanged():
    numbers = np.array([[-32768, 5]], np.int16)
    assert encode(LAYERS["magnitude"], numbers) is numbers


@pytest.mark.parametrize(
    ("name", "dtype"), [("first_anomaly", "float64"), ("ndvi", "int64"), ("status", "int16")]
)
def test_numbers_of_unknown_meaning_are_refused(name, dtype):
    with pytest.raises(TypeError, match=f"layer {name} .* cannot be made of {dtype}"):
        encode(LAYERS[name], np.zeros(3, dtype))
