"""Reflectance of what covers the ground, in the bands the archive carries.

Surfaces are mixtures of a few pure covers. Their reflectances are rounded, typical values for a
summer sun, chosen so that the usual indices come out where they are in nature (closed pine: NDVI
0.8, NBR 0.68; broadleaf in July: 0.87; moist chernozem: 0.16; snow: NDSI 0.8).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BANDS: Final = ("blue", "green", "red", "rededge1", "nir", "nir08", "swir16", "swir22")
"""Order of bands in every spectrum here (B02 B03 B04 B05 B08 B8A B11 B12)."""

FINE_BANDS: Final = frozenset({"red", "nir"})
"""Bands at the finer of the two pixel sizes. On the satellite blue and green are as fine as these;
here they are coarser, to halve the time and the disk that the archives take."""


def _cover(*reflectance: float) -> Floats:
    spectrum = np.array(reflectance, dtype=np.float32)
    spectrum.setflags(write=False)
    return spectrum


CONIFER: Final = _cover(0.020, 0.038, 0.024, 0.058, 0.215, 0.235, 0.095, 0.045)
BROADLEAF: Final = _cover(0.022, 0.052, 0.026, 0.085, 0.370, 0.400, 0.170, 0.075)
AUTUMN_LEAF: Final = _cover(0.040, 0.085, 0.090, 0.150, 0.280, 0.310, 0.190, 0.100)
LEAFLESS: Final = _cover(0.048, 0.063, 0.080, 0.105, 0.165, 0.185, 0.215, 0.145)
DEAD_CONIFER: Final = _cover(0.042, 0.060, 0.078, 0.100, 0.175, 0.190, 0.190, 0.120)
CROP: Final = _cover(0.024, 0.055, 0.028, 0.090, 0.430, 0.455, 0.190, 0.085)
GRASS: Final = _cover(0.034, 0.072, 0.045, 0.115, 0.340, 0.360, 0.210, 0.110)
STRAW: Final = _cover(0.070, 0.098, 0.125, 0.160, 0.235, 0.255, 0.310, 0.220)
CHERNOZEM: Final = _cover(0.048, 0.062, 0.078, 0.090, 0.108, 0.115, 0.175, 0.150)
SAND: Final = _cover(0.090, 0.120, 0.155, 0.175, 0.215, 0.225, 0.310, 0.270)
SLASH: Final = _cover(0.058, 0.080, 0.105, 0.135, 0.200, 0.215, 0.285, 0.205)
CHAR: Final = _cover(0.032, 0.038, 0.048, 0.058, 0.082, 0.088, 0.150, 0.165)
WATER: Final = _cover(0.040, 0.045, 0.030, 0.024, 0.014, 0.013, 0.008, 0.006)
BUILT: Final = _cover(0.100, 0.115, 0.130, 0.145, 0.190, 0.200, 0.220, 0.200)
SNOW: Final = _cover(0.850, 0.840, 0.830, 0.820, 0.780, 0.760, 0.100, 0.070)
CLOUD: Final = _cover(0.620, 0.600, 0.600, 0.605, 0.630, 0.630, 0.450, 0.350)
HAZE: Final = _cover(0.340, 0.300, 0.270, 0.260, 0.250, 0.245, 0.130, 0.090)

PATH_ERROR: Final = _cover(1.5, 1.2, 1.0, 0.8, 0.5, 0.5, 0.25, 0.2)
"""How the error of the aerosol correction falls with wavelength (red = 1)."""


def as_floats(values: npt.ArrayLike) -> Floats:
    """Values as an array of float32."""
    return np.asarray(values, dtype=np.float32)


def mix(share: npt.ArrayLike, one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Mix two covers linearly: ``share`` of `one`, the rest of `other`.

    Parameters
    ----------
    share
        0…1, shape (…).
    one, other
        Reflectances, shape (…, band) or (band,).

    Returns
    -------
    ndarray of float32
        Reflectances, shape (…, band).
    """
    part = as_floats(share)[..., np.newaxis]
    first, second = as_floats(one), as_floats(other)
    return as_floats(second + part * (first - second))


def normalised_difference(spectra: Floats, plus: str, minus: str) -> Floats:
    """(plus − minus) / (plus + minus) of spectra (…, band)."""
    high = spectra[..., BANDS.index(plus)]
    low = spectra[..., BANDS.index(minus)]
    return as_floats((high - low) / (high + low))
