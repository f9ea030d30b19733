"""How many units a stratified sample needs, and where they fall."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def sample_size(
    stratum_ha: Mapping[str, float], users: Mapping[str, float], *, standard_error: float = 0.01
) -> int:
    """Units needed for a standard error of the overall accuracy (Olofsson et al. 2014, eq. 13).

    Parameters
    ----------
    stratum_ha
        Area of each stratum (any unit).
    users
        Expected user's accuracy of each stratum, 0–1.
    standard_error
        What the overall accuracy may have.

    Returns
    -------
    int
        n = (Σ Wᵢ Sᵢ / S)², Sᵢ = √(Uᵢ (1 − Uᵢ)), rounded up.
    """
    total = sum(stratum_ha.values())
    spread = sum(
        area / total * (users[name] * (1 - users[name])) ** 0.5 for name, area in stratum_ha.items()
    )
    return int(np.ceil((spread / standard_error) ** 2))


def allocate(stratum_pixels: Mapping[str, int], n: int, *, least: int = 75) -> dict[str, int]:
    """Share a sample among strata: at least so many in each, the rest by area.

    Parameters
    ----------
    stratum_pixels
        Pixels of each stratum; no stratum gets more units than it has pixels.
    n
        Units in all; more when `least` asks for more.
    least
        Units in each stratum, so that rare classes have a user's accuracy (75–100, Olofsson 2014).

    Returns
    -------
    dict
        Units by stratum; strata without pixels are left out.
    """
    there = {name: count for name, count in stratum_pixels.items() if count > 0}
    rest = max(n - least * len(there), 0)
    total = sum(there.values())
    return {name: min(least + round(rest * count / total), count) for name, count in there.items()}


def draw(
    strata: npt.NDArray[np.uint8], units: Mapping[int, int], *, seed: int
) -> npt.NDArray[np.int64]:
    """Draw pixels at random, without replacement, in each stratum.

    Parameters
    ----------
    strata
        Number of the stratum of each pixel, one dimension.
    units
        Number of the stratum → how many pixels.
    seed
        Everything follows from it.

    Returns
    -------
    int64 array
        Places in `strata`, in an order that does not tell the stratum.
    """
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(strata == number), size=count, replace=False)
        for number, count in sorted(units.items())
    ]
    return rng.permutation(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
