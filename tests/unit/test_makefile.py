"""The virtual environment that `make` creates, with programs that stand in for Python."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Makes an environment as venv does: a python first, then pip, which some machines cannot give it.
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cp "{folder}/inner" "$3/bin/python"
[ -e "{folder}/no-ensurepip" ] && exit 1
touch "$3/pip"
"""
INNER = """#!/bin/sh
[ -e "{folder}/.venv/pip" ] || exit 1
echo "$*" >> "{folder}/calls"
"""


class Project:
    """A folder with the Makefile, and a Python that can be without ensurepip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = folder / ".venv"
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "requirements").mkdir()
        for name in ("service", "dev"):
            (folder / f"requirements/{name}.txt").write_text("")
        for name, text in {"python3": PYTHON, "inner": INNER}.items():
            (folder / name).write_text(text.format(folder=folder))
            (folder / name).chmod(0o755)

    def make(self, *, has_ensurepip: bool = True) -> int:
        """Ask for the service's environment; return make's exit code."""
        mark = self.folder / "no-ensurepip"
        mark.unlink(missing_ok=True) if has_ensurepip else mark.touch()
        command = ["make", "VENV=.venv", f"PYTHON={self.folder / 'python3'}"]
        done = subprocess.run(
            [*command, ".venv/.service-installed"],
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode

    def installations(self) -> int:
        """Return how often requirements were installed."""
        calls = self.folder / "calls"
        return calls.read_text().count("--require-hashes") if calls.exists() else 0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_an_environment_that_failed_is_made_by_the_next_try(project: Project) -> None:
    assert project.make(has_ensurepip=False) != 0
    assert not (project.environment / "bin/python").exists()
    assert project.make() == 0
    assert project.installations() == 1
    assert project.make() == 0
    assert project.installations() == 1


def test_an_environment_that_was_left_without_pip_is_mended(project: Project) -> None:
    (project.environment / "bin").mkdir(parents=True)
    shutil.copy(project.folder / "inner", project.environment / "bin/python")
    (project.environment / ".development-installed").touch()
    assert project.make(has_ensurepip=False) != 0
    assert project.make() == 0
    assert project.installations() == 1
    assert not (project.environment / ".development-installed").exists()


def test_an_environment_that_is_made_anew_gets_its_requirements(project: Project) -> None:
    assert project.make() == 0
    (project.environment / "bin/python").unlink()  # as where the system's Python was replaced
    assert project.make() == 0
    assert project.installations() == 2
