"""Gunicorn's settings against its machine, and what is advised for it. Pure but for the reading."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.configuration_file import ConfigurationFile, Line, stays, withheld
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.machine import MachineFacts
from maintenance.core.reports import Report, Table
from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.web.server_configuration.gunicorn_settings import GunicornSettings

#: What the guide prints for gunicorn.conf.py.
GUIDE_SETTINGS: Mapping[str, Any] = {
    "workers": "cpu_count() * 2 + 1",
    "worker_class": "gthread",
    "threads": 4,
    "worker_connections": 1000,
    "max_requests": 1000,
    "max_requests_jitter": 50,
    "timeout": 120,
    "keepalive": 5,
    "preload_app": True,
}

#: Gunicorn documentation, "How Many Workers?": (2 x cores) + 1. At twice that, they wait in line.
CROWDED_FACTOR = 2
GUIDE_THREADS = 4
MAX_REQUESTS = 1000
#: The guide's 50 of 1000. Less, and workers end within moments of one another.
JITTER_RATIO = 0.05
#: Longer than the 60 s for which Nginx keeps idle connections (keepalive_timeout of an upstream).
KEEPALIVE_SECONDS = 75
TIMEOUT_SECONDS = 60
#: The guide's; a worker of sync kind that hangs is lost for as long.
LONGEST_TIMEOUT_SECONDS = 120
#: Of the machine's memory, for all workers; the rest is for what else runs and for the file cache.
WORKERS_MEMORY_RATIO = 0.5
#: A Django site's worker takes 100 to 250 MB; planned with until one that runs is measured.
ASSUMED_WORKER_BYTES = 256 * 1024**2


def workers_for_cpus(cpu_count: int) -> int:
    """Return the guide's and Gunicorn's own number."""
    return 2 * cpu_count + 1


@dataclass(frozen=True, slots=True)
class Advised:
    """How many workers fit a machine, and why not more."""

    workers: int
    reason: str


def advised_workers(machine: MachineFacts, worker_bytes: int | None) -> Advised | None:
    """Return workers by processors, less where their memory would not fit; ``None`` if unknown."""
    if machine.cpu_count is None:
        return None
    wanted = workers_for_cpus(machine.cpu_count)
    by_cpus = f"2 x {counted(machine.cpu_count, 'processor')} + 1 (what a container may use counts)"
    if machine.memory_bytes is None:
        return Advised(wanted, f"{by_cpus}; whether they fit its memory is not known")
    each = worker_bytes or ASSUMED_WORKER_BYTES
    measured = "as those that run take" if worker_bytes else "an assumption: none was seen running"
    room = max(1, int(machine.memory_bytes * WORKERS_MEMORY_RATIO / each))
    if room < wanted:
        return Advised(
            room,
            f"as many as fit half of {bytes_in_words(machine.memory_bytes)} of memory at"
            f" {bytes_in_words(each)} each ({measured}); processors would bear {wanted}",
        )
    return Advised(
        wanted, f"{by_cpus}; at {bytes_in_words(each)} each ({measured}) they fit memory"
    )


def review_gunicorn(name: str, settings: GunicornSettings, machine: MachineFacts) -> Report:
    """Judge the settings of one Gunicorn on one machine. Pure."""
    findings = [*diagnose(name, settings, machine)]
    workers, threads = settings.known.get("workers"), settings.known.get("threads")
    return Report(
        title=f"Gunicorn of {name}",
        summary=(
            f"{'?' if workers is None else workers} workers of {settings.worker_class or '?'} with"
            f" {'?' if threads is None else threads} threads each, by {settings.origin}."
        ),
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of("The guide's settings of Gunicorn", list(guide_rows(settings, machine))),),
    )


def diagnose(name: str, settings: GunicornSettings, machine: MachineFacts) -> Iterator[Finding]:
    """Judge workers, their renewal, their time limits, and how they are started."""
    for setting, why in settings.unknown.items():
        yield unavailable(
            f"gunicorn-{setting.replace('_', '-')}",
            f"Gunicorn of {name}",
            f"Gunicorn's {setting}",
            f"its value: it {why}; gunicorn_process reads the command line of a running one",
        )
    yield from _workers(name, settings, machine)
    yield from _renewal(name, settings)
    yield from _time_limits(name, settings)
    yield from _start(name, settings)


def _finding(
    code: str, severity: Severity, name: str, sentence: str, advice: str, **evidence: Any
) -> Finding:
    return Finding(f"gunicorn-{code}", severity, f"Gunicorn of {name}", sentence, evidence, advice)


def _workers(name: str, settings: GunicornSettings, machine: MachineFacts) -> Iterator[Finding]:
    workers = settings.known.get("workers")
    if not isinstance(workers, int):
        return
    advised = advised_workers(machine, settings.worker_bytes)
    cpus = machine.cpu_count
    if cpus is not None and workers > CROWDED_FACTOR * workers_for_cpus(cpus):
        yield _finding(
            "too-many-workers", Severity.WARNING, name,
            f"Gunicorn of {name} starts {workers} workers on {counted(cpus, 'processor')}: they wait"
            " for one another, and each takes memory and connections.",
            f"Set workers = {advised.workers if advised else workers_for_cpus(cpus)}.",
            workers=workers, cpu_count=cpus,
        )  # fmt: skip
    total = workers * settings.worker_bytes if settings.worker_bytes else None
    if total and machine.memory_bytes and total > machine.memory_bytes:
        yield _finding(
            "workers-exceed-memory", Severity.WARNING, name,
            f"{workers} workers at {bytes_in_words(settings.worker_bytes or 0)} take"
            f" {percent(total / machine.memory_bytes)} of the machine's memory, that which they share"
            " counted for each.",
            f"Set workers = {advised.workers if advised else 1}, and preload_app to share more.",
            workers_bytes=total, memory_bytes=machine.memory_bytes,
        )  # fmt: skip
    threads = settings.known.get("threads")
    if workers == 1 and threads == 1 and settings.worker_class == "sync":
        yield _finding(
            "one-at-a-time", Severity.WARNING, name,
            f"Gunicorn of {name} answers one request at a time: one worker with one thread"
            + ("" if settings.knows_workers else " (unless WEB_CONCURRENCY says otherwise)")
            + ".",
            f"Set workers = {advised.workers if advised else 3} and threads = {GUIDE_THREADS}.",
        )  # fmt: skip
    if "workers" in settings.counts_cpus:
        yield _finding(
            "counts-cpus", Severity.INFO, name,
            f"Gunicorn's workers of {name} follow multiprocessing.cpu_count(), which counts the machine's"
            " processors and not those that a container may use: with 2 of 64 it starts 129.",
            "Write the number, where Gunicorn runs in a container with a limit.",
        )  # fmt: skip


def _renewal(name: str, settings: GunicornSettings) -> Iterator[Finding]:
    most, jitter = settings.known.get("max_requests"), settings.known.get("max_requests_jitter")
    if most == 0:
        yield _finding(
            "never-renewed", Severity.INFO, name,
            f"Gunicorn's workers of {name} live for ever: what leaks in them grows until somebody restarts them.",
            f"Set max_requests = {MAX_REQUESTS} and max_requests_jitter = 50.",
        )  # fmt: skip
    elif isinstance(most, int) and isinstance(jitter, int) and jitter < most * JITTER_RATIO:
        yield _finding(
            "renewed-together", Severity.WARNING, name,
            f"Gunicorn's workers of {name} end after {most:,} requests with a spread of {jitter:,}: balanced"
            " ones end at nearly the same time, and the site stands still while they start.",
            f"Set max_requests_jitter = {max(1, int(most * JITTER_RATIO))} or more.",
            max_requests=most, max_requests_jitter=jitter,
        )  # fmt: skip


def _time_limits(name: str, settings: GunicornSettings) -> Iterator[Finding]:
    timeout, kind = settings.known.get("timeout"), settings.worker_class
    if timeout == 0:
        yield _finding(
            "never-ended", Severity.WARNING, name,
            f"Gunicorn's timeout of {name} is 0: a worker that hangs is never replaced.",
            f"Set timeout = {TIMEOUT_SECONDS}.",
        )  # fmt: skip
    elif kind == "sync" and isinstance(timeout, int) and timeout > LONGEST_TIMEOUT_SECONDS:
        yield _finding(
            "ended-late", Severity.INFO, name,
            f"A worker of Gunicorn of {name} that hangs is missing for {timeout} s before it is replaced.",
            f"Set timeout = {TIMEOUT_SECONDS}, and give long work to Celery.",
        )  # fmt: skip
    if kind == "gthread" and "timeout" in settings.written and timeout:
        yield _finding(
            "timeout-of-threads", Severity.INFO, name,
            f"Gunicorn's timeout = {timeout} of {name} ends no request: with threads it only notices a worker"
            " whose main loop hangs.",
            "Limit slow requests where they wait: statement_timeout in PostgreSQL, time-outs of HTTP"
            " clients.",
        )  # fmt: skip


def _start(name: str, settings: GunicornSettings) -> Iterator[Finding]:
    preload, reload = settings.known.get("preload_app"), settings.known.get("reload")
    if reload:
        yield _finding(
            "reloads", Severity.WARNING, name,
            f"Gunicorn of {name} watches its files and restarts when one changes: that is for"
            " development" + (", and does not work with preload_app." if preload else "."),
            "Take reload out.",
        )  # fmt: skip
    if preload is False and settings.known.get("workers", 1) != 1:
        yield _finding(
            "not-preloaded", Severity.INFO, name,
            f"Each of Gunicorn's workers of {name} loads the application for itself, and shares no memory of it.",
            "Set preload_app = True, if nothing opens a connection while the application is loaded.",
        )  # fmt: skip


def guide_rows(settings: GunicornSettings, machine: MachineFacts) -> Iterator[dict[str, Any]]:
    """Yield each setting of the guide beside what is deployed and what is advised."""
    workers = advised_workers(machine, settings.worker_bytes)
    advised: dict[str, Any] = {
        **GUIDE_SETTINGS,
        "workers": workers.workers if workers else None,
        "timeout": TIMEOUT_SECONDS,
        "keepalive": KEEPALIVE_SECONDS,
    }
    for name, printed in GUIDE_SETTINGS.items():
        deployed, better = settings.known.get(name), advised[name]
        if name in settings.unknown:
            verdict = f"unknown: it {settings.unknown[name]}"
        elif better is None:
            verdict = "withheld: processors unknown"
        else:
            verdict = "fits" if _fits(name, deployed, better) else "change"
        yield {
            "setting": name,
            "guide": str(printed),
            "deployed": None if deployed is None else str(deployed),
            "advised": None if better is None else str(better),
            "verdict": verdict,
        }


def _fits(name: str, deployed: Any, advised: Any) -> bool:
    if isinstance(advised, bool | str) or not isinstance(deployed, int):
        return bool(deployed == advised)
    if name in {"keepalive", "worker_connections"}:
        return bool(deployed >= advised)
    if name in {"workers", "threads"}:
        return bool(advised / CROWDED_FACTOR <= deployed <= advised * CROWDED_FACTOR)
    if name == "timeout":
        return 0 < deployed <= LONGEST_TIMEOUT_SECONDS
    return deployed > 0  # renewal: any number is better than none


def gunicorn_conf(machine: MachineFacts, worker_bytes: int | None, about: str) -> ConfigurationFile:
    """Return gunicorn.conf.py for a machine. Pure."""
    return ConfigurationFile("gunicorn.conf.py", about, tuple(_lines(machine, worker_bytes)))


def _lines(machine: MachineFacts, worker_bytes: int | None) -> Iterator[Line]:
    advised = advised_workers(machine, worker_bytes)
    if advised is None:
        yield withheld("workers", "the number of processors (cpu_count of the deployment, --cpus)")
    else:
        connections = advised.workers * GUIDE_THREADS
        yield Line(
            f"workers = {advised.workers}",
            f"{advised.reason[:1].upper()}{advised.reason[1:]}. With {GUIDE_THREADS} threads each"
            f" they open up to {connections} connections to the database. A number and not"
            " cpu_count(), which does not see the limits of a container.",
        )
    yield Line(
        'worker_class = "gthread"',
        "Threads wait for database and network while others work, and connections from Nginx are"
        " kept.",
    )
    yield Line(f"threads = {GUIDE_THREADS}", "The guide's: pages of Django wait for about as long.")
    yield stays("worker_connections", "1000", "with threads it bounds idle connections alone")
    yield Line(
        f"max_requests = {MAX_REQUESTS}",
        "A worker is renewed now and then: what leaks stays small.",
    )
    yield Line("max_requests_jitter = 50", "Not all at the same time.")
    yield Line(
        f"timeout = {TIMEOUT_SECONDS}",
        "A worker whose main loop hangs is replaced. It ends no slow request: statement_timeout in"
        " PostgreSQL does.",
    )
    yield Line(
        f"keepalive = {KEEPALIVE_SECONDS}",
        "Longer than the 60 s for which Nginx keeps idle connections; with the guide's 5 a request"
        " can meet a connection that is being closed, which is a 502.",
    )
    yield Line(
        "preload_app = True",
        "The application is loaded once and its memory shared. Nothing may open a connection while"
        " it is loaded; a deploy needs a restart, not a reload.",
    )
    yield Line(
        'worker_tmp_dir = "/dev/shm"',
        "Workers say there that they live, all the time: on a slow disk that alone can stop one.",
    )
