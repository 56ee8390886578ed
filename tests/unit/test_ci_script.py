"""What `.ci/run` installs, leaves and answers, with programs that stand in for apt and make."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci/run"


def run(folder: Path, user: int, make: str, **environment: str) -> int:
    """Run the script as a user with this line in place of make; return its exit code."""
    programs = folder / "bin"
    programs.mkdir()
    offered = "\\n".join(f"postgresql-{major}-hypopg - HypoPG" for major in (9, 15, 17, 16))
    lines = {
        "id": f"echo {user}",
        "make": f'echo "$VENV" >> {folder}/places\n{make}',
        "apt-get": f'echo "$@" >> {folder}/apt',
        "apt-cache": f"printf '{offered}\\n'",
        "python3.12": "exit 1",
        "python3.13": "exit 1",
    }
    for name, line in lines.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (folder / "tmp").mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT)],
        env={**os.environ, "PATH": path, "TMPDIR": str(folder / "tmp"), **environment},
        capture_output=True,
        check=False,
        timeout=60,
    ).returncode


@pytest.mark.parametrize("code", [0, 3])
def test_nothing_is_left_and_the_code_of_make_is_the_answer(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, 1000, f"exit {code}") == code
    places = (tmp_path / "places").read_text().splitlines()
    assert len(places) == (2 if code == 0 else 1)
    assert all(Path(place).parent.parent == tmp_path / "tmp" for place in places)
    assert not list((tmp_path / "tmp").iterdir())
    assert not (tmp_path / "apt").exists()


def test_hypopg_comes_for_the_newest_server_that_apt_offers(tmp_path: Path) -> None:
    none = {"BASH_FUNC_compgen%%": "() { return 1; }"}  # no server has it yet
    assert run(tmp_path, 0, "exit 0", **none) == 0
    update, install = (tmp_path / "apt").read_text().splitlines()
    assert update == "update -q"
    assert install.startswith("install ")
    assert [word for word in install.split() if "hypopg" in word] == ["postgresql-17-hypopg"]
