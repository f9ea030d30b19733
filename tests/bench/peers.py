"""What other toolkits do with the same input: runs in an environment of its own (`make bench`).

Reads one JSON line a piece of work from standard input:
``{"work": NAME, **arguments}``, does it, and
answers with ``{"seconds": ...}``. Imports, compilation and the reading of arrays are not counted:
each piece of work returns a function that is timed.
"""

import functools
import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

THREADS = 2


def nrt_fit(*, stack: str, dates: str, method: str) -> Callable[[], Any]:
    """Fit order 2 and a trend by ``OLS``, ``RIRLS`` or ``ROC``, as nrt's monitors do it."""
    from nrt.monitor.ewma import EWMA
    from nrt.utils import build_regressors

    array = _labelled(stack, dates)
    regressors = build_regressors(array.indexes["time"], trend=True, harmonic_order=2)

    def fit() -> None:
        # the step that all its monitors share; without screening, which only its EWMA asks for
        EWMA(trend=True, harmonic_order=2)._fit(regressors, array, method=method, n_threads=THREADS)

    return fit


def nrt_monitor(*, stack: str, dates: str, n_history: int) -> Callable[[], Any]:
    """Update nrt's CUSUM monitor with the slices after the history, one by one, half by half."""
    from nrt.monitor.cusum import CuSum

    array = _labelled(stack, dates)
    middle = array.sizes["y"] // 2
    parts = []
    for half in (array[:, :middle], array[:, middle:]):
        fitted = CuSum(trend=True, harmonic_order=2)
        fitted.fit(half[:n_history].copy(), method="OLS")
        new = [
            (values.astype(np.float64), pd.Timestamp(date).to_pydatetime())
            for values, date in zip(
                half.values[n_history:], half.time.values[n_history:], strict=True
            )
        ]
        parts.append((fitted, new))

    def monitor(part: tuple[Any, Any]) -> None:
        fitted, new = part
        for values, date in new:
            fitted.monitor(values, date, update_mask=False)

    def both() -> None:
        # it has no threads of its own, and numpy leaves the lock to the other half
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(monitor, parts))

    return both


def nrt_quickstart(
    *, stack: str, dates: str, forest: str, n_history: int, sensitivity: float, out: str
) -> Callable[[], Any]:
    """Watch a forest as nrt's own quick start does; the day of each break (from 1970, 0 = none).

    The quick start leaves `sensitivity` at its default of 2; higher is less sensitive.
    """
    from nrt.monitor.ewma import EWMA

    array, mask = _labelled(stack, dates), np.load(forest).astype(np.uint8)

    def watch() -> None:
        monitor = EWMA(trend=False, mask=mask, sensitivity=sensitivity)
        monitor.fit(dataarray=array[:n_history])
        new = array[n_history:]
        for values, date in zip(new.values, new.time.values.astype("M8[s]").tolist(), strict=True):
            monitor.monitor(array=values, date=date)
        np.save(out, np.where(monitor.mask == 3, monitor.detection_date, 0))

    return watch


def odc_ndvi(*, items: str, bbox: list[float], crs: str, resolution: float) -> Callable[[], Any]:
    """Clear NDVI of every item, read by odc-stac in chunks and masked with xarray."""
    load = _odc(items, bbox, crs, resolution)
    return lambda: _clear_ndvi(load()).compute(num_workers=THREADS)


def odc_median(*, items: str, bbox: list[float], crs: str, resolution: float) -> Callable[[], Any]:
    """Median of the clear NDVI, read by odc-stac, by xarray."""
    load = _odc(items, bbox, crs, resolution)
    return lambda: _clear_ndvi(load()).median("time").compute(num_workers=THREADS)


def stackstac_ndvi(
    *, items: str, bbox: list[float], crs: str, resolution: float
) -> Callable[[], Any]:
    """Clear NDVI of every item, read by stackstac."""
    import pystac
    import stackstac

    found = pystac.ItemCollection.from_file(items)

    def load() -> xr.DataArray:
        stack = stackstac.stack(
            found,
            assets=["red", "nir", "scl"],
            epsg=int(crs.split(":")[1]),
            resolution=resolution,
            bounds=bbox,
            chunksize=1024,
            rescale=False,
            fill_value=np.uint16(0),
            dtype=np.dtype("uint16"),
        )
        return _clear_ndvi(
            xr.Dataset({b: stack.sel(band=b, drop=True) for b in ("red", "nir", "scl")})
        ).compute(num_workers=THREADS)

    return load


def _odc(items: str, bbox: list[float], crs: str, resolution: float) -> Callable[[], xr.Dataset]:
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox

    found = list(pystac.ItemCollection.from_file(items))
    geobox = GeoBox.from_bbox(tuple(bbox), crs, resolution=resolution, tight=True)
    return functools.partial(
        odc.stac.load,
        found,
        bands=["red", "nir", "scl"],
        geobox=geobox,
        chunks={"time": 1, "x": 1024, "y": 1024},
        groupby="id",
    )


def _clear_ndvi(bands: xr.Dataset) -> xr.DataArray:
    red, nir = (bands[name].astype("float32") for name in ("red", "nir"))
    return ((nir - red) / (nir + red)).where(bands["scl"].isin([4, 5, 6]) & (red > 0))


def _labelled(stack: str, dates: str) -> xr.DataArray:
    """A (time, y, x) stack of index × 10,000, missing −32768, as nrt wants it."""
    values = np.load(stack)
    index = np.where(values == -32768, np.nan, values / np.float32(10_000)).astype(np.float32)
    time = np.load(dates).astype("datetime64[ns]")
    return xr.DataArray(index, dims=("time", "y", "x"), coords={"time": time})


WORKS: dict[str, Callable[..., Callable[[], Any]]] = {
    work.__name__: work
    for work in (nrt_fit, nrt_monitor, nrt_quickstart, odc_ndvi, odc_median, stackstac_ndvi)
}


@functools.cache
def _prepared(request: str) -> Callable[[], Any]:
    """A piece of work, done once so that everything is compiled."""
    arguments = json.loads(request)
    work = WORKS[arguments.pop("work")](**arguments)
    work()
    return work


def main() -> None:
    """Serve until standard input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        work = _prepared(line)
        started = time.perf_counter()
        work()
        answers.write(json.dumps({"seconds": time.perf_counter() - started}) + "\n")
        answers.flush()


if __name__ == "__main__":
    sys.path = [place for place in sys.path if place != str(Path(__file__).parent)]
    main()
