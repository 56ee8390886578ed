"""What a site's Celery workers were told: by a file of settings, which is read and never run, and by
the command lines of workers that run on this machine. No message is sent, no worker is asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maintenance.core.command_lines import leaders, programs_with
from maintenance.core.python_settings import read_python_settings

#: Celery's own values, of the settings that matter here (Celery documentation, "Configuration and
#: defaults"); ``visibility_timeout`` is that of kombu's Redis transport.
DEFAULTS: Mapping[str, Any] = {
    "worker_concurrency": None,  # the number of processors
    "worker_pool": "prefork",
    "worker_prefetch_multiplier": 4,
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "worker_max_tasks_per_child": None,
    "worker_max_memory_per_child": None,
    "task_time_limit": None,
    "task_soft_time_limit": None,
}
VISIBILITY_TIMEOUT_SECONDS = 3600.0

_OPTIONS: Mapping[str, str] = {
    "-c": "worker_concurrency",
    "--concurrency": "worker_concurrency",
    "--prefetch-multiplier": "worker_prefetch_multiplier",
    "--max-tasks-per-child": "worker_max_tasks_per_child",
    "--max-memory-per-child": "worker_max_memory_per_child",
    "--time-limit": "task_time_limit",
    "--soft-time-limit": "task_soft_time_limit",
}
#: Names that Celery still reads from before its version 4, in upper case with the prefix CELERY_.
_OLD_NAMES: Mapping[str, str] = {
    "celeryd_concurrency": "worker_concurrency",
    "celeryd_prefetch_multiplier": "worker_prefetch_multiplier",
    "celeryd_max_tasks_per_child": "worker_max_tasks_per_child",
    "celery_acks_late": "task_acks_late",
}
_NAMESPACE = "celery_"
_TRANSPORT = "broker_transport_options"
_BROKER = "broker_url"
#: RabbitMQ gives a message out again when its connection ends.
_WITHOUT_VISIBILITY = ("amqp", "pyamqp")


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """One worker that runs: its queues as it was told, and the settings of its command line."""

    name: str
    queues: str
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``known`` settings by name, defaults included, and why others are ``unknown``.

    ``visibility_timeout_seconds`` is ``None`` where it cannot be read, and where the broker has none.
    """

    known: Mapping[str, Any]
    unknown: Mapping[str, str] = field(default_factory=dict)
    visibility_timeout_seconds: float | None = VISIBILITY_TIMEOUT_SECONDS
    workers: tuple[RunningWorker, ...] = ()
    origin: str = ""

    @property
    def has_processes(self) -> bool:
        """Whether tasks at once are processes, and not threads or green ones, which mostly wait."""
        usual = self.known.get("worker_pool")
        pools = [worker.told.get("worker_pool", usual) for worker in self.workers] or [usual]
        return all(pool in {"prefork", "solo", "processes"} for pool in pools)

    def concurrency(self, cpu_count: int | None) -> int | None:
        """Return how many tasks all workers that run work on at once; ``None`` if unknown.

        Without a running one it is that of a single worker.
        """
        usual = self.known.get("worker_concurrency") or cpu_count
        if "worker_concurrency" in self.unknown:
            usual = None
        each = [
            1
            if worker.told.get("worker_pool") == "solo"
            else worker.told.get("worker_concurrency", usual)
            for worker in self.workers
        ] or [usual]
        numbers = [number for number in each if isinstance(number, int)]
        return sum(numbers) if len(numbers) == len(each) else None


def read_worker_settings(path: str, process: str, cpu_count: int | None) -> WorkerSettings:
    """Read a file of settings and the workers that run with ``process`` in their command lines.

    Either may be empty. Raises ``OSError`` and :class:`ConfigurationError` for a file that cannot be
    read.
    """
    values: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    if path:
        settings = read_python_settings(Path(path), cpu_count)
        values = {_setting(name): value for name, value in settings.values.items()}
        unknown = {_setting(name): why for name, why in settings.unknown.items()}
    return worker_settings(
        values,
        unknown,
        tuple(_running(process)) if process else (),
        path or f"processes ({process})",
    )


def worker_settings(
    values: Mapping[str, Any],
    unknown: Mapping[str, str],
    workers: tuple[RunningWorker, ...],
    origin: str,
) -> WorkerSettings:
    """Put settings together that were read by their names of today. Pure."""
    options = values.get(_TRANSPORT) or {}
    timeout: float | None = VISIBILITY_TIMEOUT_SECONDS
    if _TRANSPORT in unknown or str(values.get(_BROKER, "")).startswith(_WITHOUT_VISIBILITY):
        timeout = None
    elif isinstance(options, Mapping) and "visibility_timeout" in options:
        timeout = float(options["visibility_timeout"])
    found = {name: value for name, value in values.items() if name in DEFAULTS}
    return WorkerSettings(
        known={n: v for n, v in {**DEFAULTS, **found}.items() if n not in unknown},
        unknown={n: w for n, w in unknown.items() if n in DEFAULTS or n == _TRANSPORT},
        visibility_timeout_seconds=timeout,
        workers=workers,
        origin=origin,
    )


def _setting(name: str) -> str:
    """Return the name of today: CELERY_TASK_ACKS_LATE of Django's settings is task_acks_late."""
    lower = name.lower()
    known = {*DEFAULTS, _TRANSPORT, _BROKER}
    for candidate in (lower, lower.removeprefix(_NAMESPACE)):
        if candidate in known:
            return candidate
        if candidate in _OLD_NAMES:
            return _OLD_NAMES[candidate]
    return name


def _running(process: str) -> Iterator[RunningWorker]:
    programs = [p for p in programs_with("celery", process) if "worker" in p.arguments]
    for leader in leaders(programs):
        told, queues, name = command_line(leader.arguments)
        yield RunningWorker(name or f"process {leader.pid}", queues, told)


def command_line(words: Sequence[str]) -> tuple[dict[str, Any], str, str]:
    """Return settings, queues and node name of a command line; of an autoscaled pool its largest."""
    told: dict[str, Any] = {}
    texts = {"queues": "", "name": ""}
    for number, word in enumerate(words):
        option, has_value, value = word.partition("=")
        text = value if has_value else (words[number + 1] if number + 1 < len(words) else "")
        if option in {"-Q", "--queues"}:
            texts["queues"] = text
        elif option in {"-n", "--hostname"}:
            texts["name"] = text
        elif option in {"-P", "--pool"}:
            told["worker_pool"] = text
        elif option == "--autoscale" and text.partition(",")[0].isdigit():
            told["worker_concurrency"] = int(text.partition(",")[0])
        elif option in _OPTIONS and text.isdigit():
            told[_OPTIONS[option]] = int(text)
        elif word.startswith("-c") and word[2:].isdigit():
            told["worker_concurrency"] = int(word[2:])
    return told, texts["queues"], texts["name"]
