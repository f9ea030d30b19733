"""What holds for all tests."""

import itertools
import logging
from collections.abc import Iterator

import hypothesis
import pytest

from servers import s3 as store

# The same examples at every run, however busy the machine is.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")

_BUCKETS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of long tests: at the end no worker waits for another's last file."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def _log_untouched() -> Iterator[None]:
    """Begin and end without what the command line, run in this process, does to the log.

    Before as well: a fixture of a whole module may have run it.
    """
    _reset_log()
    yield
    _reset_log()


def _reset_log() -> None:
    root = logging.getLogger()
    # pytest's own handlers are of other classes
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("lesniva").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[str]:
    with store.serving() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(_s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an empty bucket on loopback, which the environment leads to."""
    import s3fs

    for name, value in store.environment(_s3_server).items():
        monkeypatch.setenv(name, value)
    name = f"bucket{next(_BUCKETS)}"
    s3fs.S3FileSystem(endpoint_url=_s3_server).mkdir(name)
    return name
