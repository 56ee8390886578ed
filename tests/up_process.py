"""`manage.py up` as a process of its own, as a person starts it."""

import json
import os
import re
import signal as signals
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg2

from tests.polling import eventually

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90
STOP_SECONDS = 60
READY_LINE = "Maintenance is at work"
FREE_PORTS = ("--web-port", "0", "--flower-port", "0")


def clean_environment(**values: str) -> dict[str, str]:
    """Return what a login shell has, without the settings of the test run."""
    kept = ("PATH", "HOME", "USER", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | values


def manage(*arguments: str, state: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run another command of manage.py to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean_environment(MAINTENANCE_STATE=str(state), **environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class UpProcess:
    """A running `up`; leaving the context ends it and all that it started."""

    def __init__(self, state: Path, *arguments: str, **environment: str) -> None:
        self.state = state
        self.exit_code: int | None = None
        self.log_path = state.with_name(state.name + ".log")
        self._log = self.log_path.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--state", str(state), *arguments],
            cwd=ROOT,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            family = self.family()
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            # The servers write in the state folder to their end, and a test removes it.
            eventually(lambda: are_gone(family), 10, "everything that up started is gone")
        self._log.close()

    @property
    def pid(self) -> int:
        """The process id of `up` itself."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything that was printed until now."""
        return self.log_path.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> None:
        """Return as soon as `text` was printed; fail where `up` ends before."""

        def is_printed() -> bool:
            if text in self.output:
                return True
            if self._process.poll() is not None:
                raise AssertionError(f"up ended before it printed {text!r}:\n{self.output}")
            return False

        try:
            eventually(is_printed, seconds, f"{text!r} is printed")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def wait_until_ready(self) -> Self:
        """Return when the table of addresses was printed."""
        self.wait_for(READY_LINE)
        return self

    def wait(self, seconds: float) -> int:
        """Return the exit code."""
        return self._process.wait(seconds)

    def stop(self, signal: signals.Signals = signals.SIGINT) -> int:
        """Ask for the end as Ctrl-C does, and return the exit code."""
        self._process.send_signal(signal)
        return self.wait(STOP_SECONDS)

    def signal(self, signal: signals.Signals) -> None:
        """Send a signal to `up` alone."""
        self._process.send_signal(signal)

    def kill(self) -> None:
        """Kill `up` alone, without a word to its children."""
        self._process.kill()
        self._process.wait()

    def family(self) -> list[psutil.Process]:
        """Return `up` and every process below it."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def children_of(self, *words: str) -> list[psutil.Process]:
        """Return direct children of `up` whose command holds all of `words`."""
        children = psutil.Process(self.pid).children()
        return [c for c in children if all(word in command_of(c) for word in words)]

    def address(self, what: str) -> str:
        """Return an address from the table."""
        found = re.search(rf"│ {re.escape(what)} +│ (\S+)", self.output)
        assert found, f"no {what} in:\n{self.output}"
        return found[1]

    def secrets(self) -> dict[str, str]:
        """Return the generated passwords."""
        values: dict[str, str] = json.loads((self.state / "secrets.json").read_text())["secrets"]
        return values

    def runtime(self) -> dict[str, str]:
        """Return what `up` left for other commands."""
        values: dict[str, str] = json.loads((self.state / "runtime.json").read_text())
        return values

    def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a query on the ledger."""
        with (
            closing(psycopg2.connect(self.runtime()["DATABASE_URL"])) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, parameters)
            return cursor.fetchall()

    @contextmanager
    def blocked_run(self) -> Iterator[str]:
        """Have a worker at work on a run that cannot end before the context does.

        The run waits for a lock that a session of the test holds. Yields the run's id.
        """
        with closing(psycopg2.connect(self.runtime()["DATABASE_URL"])) as blocker:
            with blocker.cursor() as cursor:
                cursor.execute("LOCK TABLE maintenance_storedreport IN ACCESS EXCLUSIVE MODE")
            sent = manage("maintenance", "run", "check_disk_space", "--no-wait", state=self.state)
            assert sent.returncode == 0, sent.stderr
            found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", sent.stdout)
            assert found, sent.stdout
            query = "SELECT 1 FROM maintenance_run WHERE id = %s AND state = 'running'"
            eventually(lambda: bool(self.rows(query, (found[0],))), 30, "the run is at work")
            yield found[0]


def command_of(process: psutil.Process) -> str:
    """Return a process's command line; empty where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie is one, too
        return ""


def are_gone(processes: list[psutil.Process]) -> bool:
    """Tell whether all of them have ended."""
    return all(has_ended(process) for process in processes)


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process is gone, or waits only for its parent to read its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return True
