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


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Take back what a test that ran the command line in this process did to the log."""
    root, ours = logging.getLogger(), logging.getLogger("lesniva")
    before, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
    for logger, level in zip((root, ours), levels, strict=True):
        logger.setLevel(level)


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
