"""Every SQL file is run by some test: a query that no test runs is broken on some version."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maintenance.postgres import driver, sql_files
from service.embedded.binaries import locate_postgres

EVERY_SQL_FILE_OPTION = "--every-sql-file"
FOLDER = Path(sql_files.__file__).parent / "sql"

_ran: pytest.StashKey[set[str]] = pytest.StashKey()
#: Under this name a process of several sends it to the one that started them.
_SENT = "sql_files"
_unused: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        EVERY_SQL_FILE_OPTION,
        action="store_true",
        help="fail unless the tests run each file of maintenance/postgres/sql",
    )


@pytest.fixture(autouse=True, scope="session")
def recorded_sql_files(pytestconfig: pytest.Config) -> Iterator[None]:
    """Note the name of each SQL file that is read to be run."""
    ran: set[str] = set()
    pytestconfig.stash[_ran] = ran
    load = sql_files.load_sql

    def load_and_note(name: str, version: int) -> str:
        ran.add(name)
        return load(name, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_files, "load_sql", load_and_note)
        yield


def files_not_run(ran: set[str], major: int) -> list[str]:
    """Name the SQL files that have something to say to this major and were not run."""
    names = (path.stem for path in FOLDER.glob("*.sql"))
    statements = {name: sql_files.load_sql(name, major) for name in names}
    return sorted(
        name
        for name, text in statements.items()
        if name not in ran and text.strip() != driver.MARKER
    )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what one of several processes noted."""
    node.config.stash.setdefault(_ran, set()).update(node.workeroutput.get(_SENT, ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    ran = config.stash.get(_ran, set())
    if hasattr(config, "workeroutput"):  # one of several processes: the first one judges
        config.workeroutput[_SENT] = sorted(ran)
        return
    if not config.getoption(EVERY_SQL_FILE_OPTION):
        return
    unused = files_not_run(ran, locate_postgres().major)
    config.stash[_unused] = unused
    if unused:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for name in config.stash.get(_unused, []):
        terminalreporter.line(f"NOT RUN maintenance/postgres/sql/{name}.sql", red=True)
