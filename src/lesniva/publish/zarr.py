"""A NetCDF cube of ours as a Zarr store, for readers that take chunks over the network.

One zip file, so that it is whole or not there, and has one size and one checksum. It is packed from
a store beside it: zarr's own writer of zip files writes metadata twice, and the time of day.
"""

import shutil
import zipfile
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from lesniva.storage import whole_file

CHUNK = 1024
"""Pixels along the edge of a chunk: about 2 MiB of int16, worth a request of its own."""

NO_TIME = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment, in place of the clock: the same cube gives the same bytes."""


def write_zarr(path: Path, cube: Path) -> None:
    """Write what a NetCDF file of `lesniva.publish.write_netcdf` holds as Zarr 3.

    Numbers, attributes and CF metadata are kept as they are; chunks are larger.

    Parameters
    ----------
    path
        Final name, ``.zarr.zip``. It appears when the file is whole.
    cube
        The NetCDF file.

    Raises
    ------
    EnvironmentFaultError
        The disk is full or cannot be written; an earlier file of that name is then untouched.
    """
    with whole_file(path) as temporary:
        store = temporary.with_suffix(".store")
        try:
            _copy_variables(cube, store)
            _pack(store, temporary)
        finally:
            shutil.rmtree(store, ignore_errors=True)


def _copy_variables(cube: Path, store: Path) -> None:
    import dask
    import xarray as xr

    # a chunk at a time: the NetCDF library is not safe for threads, and memory stays bounded
    with (
        dask.config.set(scheduler="synchronous"),
        xr.open_dataset(cube, engine="netcdf4", decode_cf=False) as data,
    ):
        layers = [
            name for name, variable in data.variables.items() if "_FillValue" in variable.attrs
        ]
        for name in layers:
            data[name] = data[name].chunk({"time": 1, "y": CHUNK, "x": CHUNK})
        # a chunk of nothing but missing values is left out; coordinates miss nothing, says CF
        encoding: dict[Hashable, dict[str, Any]] = {
            name: {"fill_value": int(data[name].attrs["_FillValue"])}
            if name in layers
            else {"_FillValue": None}
            for name in data.variables
        }
        data.drop_encoding().to_zarr(store, zarr_format=3, consolidated=False, encoding=encoding)


def _pack(store: Path, path: Path) -> None:
    """Put the files of a store into a zip, by their names; chunks are compressed already."""
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(each for each in store.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(store).as_posix(), NO_TIME)
            packed.writestr(entry, file.read_bytes())
