"""The wheel as it would be released: built from the sdist, which is built from what git would commit."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Left out of the copy that is built: no part of the package, or of an earlier build.
NOT_COPIED = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "docs"
)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"


def build(folder: Path) -> tuple[Path, Path]:
    """Return sdist and wheel, built in ``folder``."""
    sources = folder / "sources"
    shutil.copytree(ROOT, sources, ignore=NOT_COPIED)
    _run("sdist", sources, folder)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        # Python before 3.11.4 has no filters, and this archive is our own.
        how = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "unpacked", **how)
    [unpacked] = (folder / "unpacked").iterdir()
    _run("wheel", unpacked, folder)
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


def _run(what: str, sources: Path, folder: Path) -> None:
    command = [sys.executable, "-c", BUILD.format(what=what), str(folder)]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def clean_environment(folder: Path, wheel: Path) -> Path:
    """Return the Python of a new virtual environment in which the wheel is installed, and not our tree.

    Its dependencies are those of the environment of the tests, by a ``.pth`` file: they would be the
    same downloads, and a test asks no registry. Whether they are *named* is looked at elsewhere.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    [site_packages] = folder.glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += [
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        str(site_packages),
        str(wheel),
    ]
    subprocess.run(command, check=True)
    (site_packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
