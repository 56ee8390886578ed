"""Tests run side by side, a process each; one that is marked ``alone`` has the machine to itself.

Each test holds a lock that all share, and one that is alone holds it by itself. To get at it they pass
a turnstile, so that one that is alone waits for those at work and for nobody else. The time that a test
waits is not counted to it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Where the locks are: named by the process that began the run, for those that it starts.
FOLDER_SETTING = "MAINTENANCE_TEST_LOCKS"

_made: pytest.StashKey[str] = pytest.StashKey()

#: A test in these folders kills, stops or stalls what it started, and counts seconds.
ALONE_FOLDERS = ("faults",)


def pytest_configure(config: pytest.Config) -> None:
    if FOLDER_SETTING not in os.environ:
        os.environ[FOLDER_SETTING] = tempfile.mkdtemp(prefix="maintenance-test-locks-")
        config.stash[_made] = os.environ[FOLDER_SETTING]


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_made, None)
    if folder is not None:
        del os.environ[FOLDER_SETTING]
        shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        bears_others = item.get_closest_marker("beside_others") is not None
        if item.path.parent.name in ALONE_FOLDERS and not bears_others:
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test while nothing is at work beside it that may not be."""
    with _held(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _held(*, alone: bool) -> Iterator[None]:
    folder = Path(os.environ[FOLDER_SETTING])
    with (folder / "machine").open("w") as machine:
        with (folder / "turnstile").open("w") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
