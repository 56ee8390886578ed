"""The guide's commands as a shell sees them: exit codes, formats, one sentence for each mistake."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "analyze_db_performance": ["--analysis", "indexes", "bloat", "long-running", "blocking"],
    "check_data_integrity": [],
    "profile_queries": ["--min-duration", "100"],
    "health_check": ["--check", "database"],
}


class Shell:
    """Runs manage.py against one database, as the service does."""

    def __init__(self, database_url: str, state: Path) -> None:
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "service.settings",
            "DATABASE_URL": database_url,
            "MAINTENANCE_STATE": str(state),
        }

    def __call__(
        self, *arguments: str, stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """A small database in good order."""
    url = make_database()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION pg_stat_statements")
            cursor.execute("CREATE TABLE shelf (id serial PRIMARY KEY, name text)")
    return url


@pytest.fixture
def shell(database_url: str, tmp_path: Path) -> Shell:
    """The command line on that database."""
    return Shell(database_url, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_document_and_healthy_is_zero(shell: Shell, command: str) -> None:
    done = shell(command, *COMMANDS[command], "--format", "json", "--fail-on", "critical")

    document = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert document["summary"]
    assert document["reports"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("layout", ["text", "markdown", "html"])
def test_every_other_format_is_printed(shell: Shell, layout: str) -> None:
    done = shell("check_data_integrity", "--format", layout)

    assert done.returncode == 0, done.stderr
    assert "Nothing is broken" in done.stdout


def test_a_fault_is_one(shell: Shell, database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT setval('shelf_id_seq', 2100000000)")

    done = shell("check_data_integrity")

    assert done.returncode == 1
    assert "public.shelf_id_seq" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["analyze_db_performance", "--analysis", "blot"], 'Did you mean "bloat"'),
        (["analyze_db_performance", "--analysis", "queries", "--exact"], "--exact is for bloat"),
        (["health_check", "--check", "databse"], 'Did you mean "database"'),
        (["check_data_integrity", "--database", "onw"], 'Did you mean "own"'),
        (["check_data_integrity", "--format", "jsn"], 'Did you mean "json"'),
        (["maintenance", "run", "vacum_analyze"], 'Did you mean "vacuum_analyze"'),
    ],
)
def test_a_misspelt_name_is_two_and_one_sentence(
    shell: Shell, arguments: list[str], suggestion: str
) -> None:
    done = shell(*arguments)

    assert done.returncode == 2
    assert suggestion in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_duration_that_is_no_number_is_two(shell: Shell) -> None:
    done = shell("profile_queries", "--min-duration", "long")

    assert done.returncode == 2
    assert "--min-duration takes a number above 0, not 'long'" in done.stderr


def test_a_server_that_is_down_is_two_and_named_without_its_password(tmp_path: Path) -> None:
    shell = Shell("postgres://app:very-secret@127.0.0.1:1/site", tmp_path)

    done = shell("check_data_integrity")

    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stdout + done.stderr
    assert "very-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_reader_that_has_seen_enough_changes_no_verdict(
    tmp_path: Path, output_format: str
) -> None:
    shell = Shell("postgres://app:very-secret@127.0.0.1:1/site", tmp_path)
    reader, writer = os.pipe()
    os.close(reader)

    done = shell("health_check", "--check", "database", "--format", output_format, stdout=writer)
    os.close(writer)

    assert done.returncode == 2
    assert "BrokenPipe" not in done.stderr
