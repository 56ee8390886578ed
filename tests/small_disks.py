"""File systems so small that they fill up."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.embedded.account import server_account
from tests.postgres_clients import ask


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield ``folder`` as a file system of 32 MB; skips the test where none can be mounted."""
    if shutil.which("mount") is None:
        pytest.skip("needs mount to make a small file system")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,mode=711", "maintenance-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_tablespace(url: str, folder: Path) -> Iterator[str]:
    """Yield the name of a tablespace on such a file system; what is in it has to go before."""
    with small_disk(folder):
        place = folder / "space"
        place.mkdir(mode=0o700)
        account = server_account()
        if account is not None:
            shutil.chown(place, account.uid, account.gid)
        ask(url, f"CREATE TABLESPACE small LOCATION '{place}'")
        yield "small"
        ask(url, "DROP TABLE IF EXISTS cramped")
        ask(url, "DROP TABLESPACE small")
