"""What Gunicorn was told: by its configuration file, which is read and never run, and its command line.

The command line goes before the file (Gunicorn documentation, "Configuration Overview").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maintenance.core.command_lines import RunningProgram, leaders, programs_with
from maintenance.core.errors import ConfigurationError
from maintenance.core.python_settings import PythonSettings, read_python_settings

#: Gunicorn's own values, of the settings that matter here (Gunicorn documentation, "Settings").
DEFAULTS: Mapping[str, Any] = {
    "workers": 1,
    "worker_class": "sync",
    "threads": 1,
    "worker_connections": 1000,
    "max_requests": 0,
    "max_requests_jitter": 0,
    "timeout": 30,
    "graceful_timeout": 30,
    "keepalive": 2,
    "preload_app": False,
    "reload": False,
    "worker_tmp_dir": None,
}
_OPTIONS: Mapping[str, str] = {
    "-w": "workers",
    "--workers": "workers",
    "-k": "worker_class",
    "--worker-class": "worker_class",
    "--threads": "threads",
    "--worker-connections": "worker_connections",
    "--max-requests": "max_requests",
    "--max-requests-jitter": "max_requests_jitter",
    "-t": "timeout",
    "--timeout": "timeout",
    "--graceful-timeout": "graceful_timeout",
    "--keep-alive": "keepalive",
    "--worker-tmp-dir": "worker_tmp_dir",
}
_SWITCHES: Mapping[str, str] = {"--preload": "preload_app", "--reload": "reload"}
_TEXTS = frozenset({"worker_class", "worker_tmp_dir"})


@dataclass(frozen=True, slots=True)
class GunicornSettings:
    """``known`` settings by name, defaults included, and why others are ``unknown``.

    ``written`` are those that somebody set. ``counts_cpus`` were computed from the machine's
    processors. ``worker_bytes`` is what a worker that runs takes on average, ``None`` if none does.
    ``counts_running`` says that workers were counted, since nobody wrote how many there are.
    """

    known: Mapping[str, Any]
    unknown: Mapping[str, str] = field(default_factory=dict)
    written: frozenset[str] = frozenset()
    counts_cpus: frozenset[str] = frozenset()
    worker_bytes: int | None = None
    origin: str = ""
    counts_running: bool = False

    @property
    def knows_workers(self) -> bool:
        """Whether somebody wrote or counted the workers; else WEB_CONCURRENCY may say another number."""
        return self.counts_running or "workers" in self.written

    @property
    def connections(self) -> int | None:
        """How many threads work at once: each may hold a connection to the database.

        ``None`` where the number of workers is Gunicorn's own, which its environment may replace; also
        where workers have no threads but green ones: how many of them there are follows from the
        visitors.
        """
        if not self.knows_workers or self.worker_class not in {"sync", "gthread"}:
            return None
        workers, threads = self.known.get("workers"), self.known.get("threads")
        if not isinstance(workers, int) or not isinstance(threads, int):
            return None
        return workers * threads

    @property
    def worker_class(self) -> str | None:
        """The kind of worker that really runs: threads turn sync into gthread."""
        kind = self.known.get("worker_class")
        if kind == "sync" and isinstance(self.known.get("threads"), int):
            return "gthread" if self.known["threads"] > 1 else "sync"
        return kind if isinstance(kind, str) else None


def read_gunicorn(path: str, process: str, cpu_count: int | None) -> GunicornSettings:
    """Read the file, and the command line of the running master that has ``process`` in it.

    Either may be empty. Workers that neither tells are counted where they run. Raises ``OSError`` and :class:`ConfigurationError` for a file that cannot
    be read, and :class:`ConfigurationError` where no such master runs, or several.
    """
    words: Sequence[str] = ()
    workers: Sequence[RunningProgram] = ()
    if process:
        words, workers = _running(process)
        path = path or _file_of(words)
    told = command_line(words)
    settings = read_python_settings(Path(path), cpu_count) if path else PythonSettings()
    origin = path or f"the process {process}"
    return _together(settings, told, workers, origin)


def _together(
    settings: PythonSettings,
    told: Mapping[str, Any],
    workers: Sequence[RunningProgram],
    origin: str,
) -> GunicornSettings:
    written = {**{n: v for n, v in settings.values.items() if n in DEFAULTS}, **told}
    counted = {"workers": len(workers)} if workers and "workers" not in written else {}
    found = {**written, **counted}
    unknown = {n: w for n, w in settings.unknown.items() if n in DEFAULTS and n not in found}
    return GunicornSettings(
        known={n: v for n, v in {**DEFAULTS, **found}.items() if n not in unknown},
        unknown=unknown,
        written=frozenset(written),
        counts_cpus=settings.counts_cpus - told.keys(),
        worker_bytes=sum(w.resident_bytes for w in workers) // len(workers) if workers else None,
        origin=origin,
        counts_running=bool(counted),
    )


def command_line(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings that options name; a value that is no number is left out."""
    told: dict[str, Any] = {}
    for number, word in enumerate(words):
        option, has_value, value = word.partition("=")
        if option in _SWITCHES:
            told[_SWITCHES[option]] = True
        name = _OPTIONS.get(option)
        if name is None and word[:2] in _OPTIONS and len(word) > 2 and not word.startswith("--"):
            name, has_value, value = _OPTIONS[word[:2]], "=", word[2:]  # -w4
        if name is None:
            continue
        text = value if has_value else (words[number + 1] if number + 1 < len(words) else "")
        if name in _TEXTS:
            told[name] = text
        elif text.isdigit():
            told[name] = int(text)
    return told


def _file_of(words: Sequence[str]) -> str:
    """Return the configuration file that a command line names, if it is an absolute path."""
    for number, word in enumerate(words):
        option, has_value, value = word.partition("=")
        if option in {"-c", "--config"}:
            text = value if has_value else (words[number + 1] if number + 1 < len(words) else "")
            text = text.removeprefix("file:")
            return text if text.startswith("/") else ""
    return ""


def _running(process: str) -> tuple[tuple[str, ...], Sequence[RunningProgram]]:
    """Return the command line of the one master, and its workers."""
    programs = programs_with("gunicorn", process)
    masters = leaders(programs)
    if len(masters) != 1:
        found = "none does" if not masters else f"{len(masters)} do"
        raise ConfigurationError(
            f'One running Gunicorn must have "{process}" in its command line, and {found}. Name the'
            " application as it stands there, or give the file alone."
        )
    return masters[0].arguments, [p for p in programs if p.parent_pid == masters[0].pid]
