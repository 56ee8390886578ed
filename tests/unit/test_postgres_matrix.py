"""The matrix of PostgreSQL versions says plainly which version cannot run, and why."""

from pathlib import Path

import pytest

from tests import postgres_matrix


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres_matrix, "CACHE", tmp_path)


def test_a_version_without_a_package_fails_by_name(
    no_cache: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing is to be had, as on an unknown platform

    assert postgres_matrix.main(["--major", "15"]) == 1

    said = capsys.readouterr().out
    assert "15  FAILED  cannot run here: pip found no programs for this platform" in said


def test_programs_without_their_libraries_fail_with_what_to_install(
    no_cache: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bindir = tmp_path / postgres_matrix.locked_version(16) / "bin"
    bindir.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (bindir / name).write_text("#!/bin/sh\necho 'libxml2.so.2: no such file' >&2\nexit 127\n")
        (bindir / name).chmod(0o755)

    assert postgres_matrix.main(["--major", "16"]) == 1

    said = capsys.readouterr().out
    assert "16  FAILED  cannot run here: " in said
    assert "libxml2.so.2: no such file" in said
    assert "apt-get install libxml2" in said


def test_each_version_is_locked_to_its_own_major() -> None:
    for major in postgres_matrix.PACKAGED_MAJORS:
        assert postgres_matrix.locked_version(major).startswith(f"{major}.")
