"""A run in which every SQL file has to take part fails where one did not."""

from pathlib import Path

import pytest

from tests.sql_files import EVERY_SQL_FILE_OPTION, FOLDER, files_not_run

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_that_did_not_run_is_named() -> None:
    every = {path.stem for path in FOLDER.glob("*.sql")}
    assert files_not_run(every - {"in_recovery"}, 18) == ["in_recovery"]
    assert files_not_run(every, 18) == []


def test_a_run_that_passed_otherwise_fails_with_the_names(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        "from maintenance.postgres import sql_files\n\n"
        "def test_one():\n    sql_files.load_sql('in_recovery', 18)\n"
    )
    assert pytester.runpytest_subprocess("-p", "tests.sql_files").ret == 0

    result = pytester.runpytest_subprocess("-p", "tests.sql_files", EVERY_SQL_FILE_OPTION)

    assert result.ret == 1
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["NOT RUN maintenance/postgres/sql/table_counters.sql"])
    result.stdout.no_fnmatch_line("*in_recovery*")
