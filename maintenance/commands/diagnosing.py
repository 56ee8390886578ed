"""The measurements that runbooks ask for, taken now by the same functions as in scheduled runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from maintenance.commands.earlier import job_after
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import contained, not_measured
from maintenance.conf import DatabaseTarget
from maintenance.core.errors import Skipped
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.options import parse_options
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.registry import task_named
from maintenance.core.wording import counted, percent
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.connection import connect
from maintenance.postgres.vacuum.statements import DATABASE_STATISTICS
from maintenance.runbooks.model import Source

#: The guide: "Database CPU > 80%".
HIGH_CPU_RATIO = 0.80
#: Tables that a sentence names of those that are due.
NAMED_TABLES = 5

ANALYSES = (
    Source.QUERIES,
    Source.MISSING_INDEXES,
    Source.LONG_RUNNING,
    Source.IDLE_IN_TRANSACTION,
    Source.BLOCKING,
    Source.CONNECTIONS,
    Source.CACHE_HIT,
    Source.VACUUM,
    Source.VACUUM_HEALTH,
    Source.CHECKPOINTS,
    Source.TEMPORARY_FILES,
)

#: Tasks whose own function measures: nothing is written, and of those that write it is a dry run.
_TASKS: MappingProxyType[Source, tuple[str, dict[str, Any]]] = MappingProxyType(
    {
        Source.ACCESS_LOG: ("review_error_rates", {}),
        Source.PERFORMANCE_LOG: ("review_n_plus_one", {}),
        Source.CACHE_RATIOS: ("review_cache_hit_ratios", {}),
        Source.PROCESSES: ("check_process_memory", {}),
        Source.REDIS_MEMORY: ("check_redis_memory", {}),
        Source.STREAMS: ("trim_streams", {"dry_run": True}),
        Source.ABANDONED_STREAMS: ("remove_abandoned_streams", {"dry_run": True}),
        Source.COMPACT_ENCODINGS: (
            "reclaim_redis_memory",
            {"parts": ["encodings", "repack"], "dry_run": True},
        ),
        Source.STALE_CACHE: ("invalidate_caches", {"dry_run": True}),
    }
)

#: Logs are read from where a first run begins: what the last scheduled run read has just been, too.
_FROM_THE_START = frozenset({Source.ACCESS_LOG, Source.PERFORMANCE_LOG})


def measure(
    sources: Sequence[Source], scope: Scope, note: Callable[[str], None]
) -> dict[Source, tuple[Report, ...]]:
    """Take the measurements one after the other; ``note`` hears which is at work.

    The processor time comes first: what the others ask of the server is no load of the site.
    """
    answers: dict[Source, tuple[Report, ...]] = {}
    if Source.DATABASE_CPU in sources:
        note(f"Measuring {Source.DATABASE_CPU}.")
        answers[Source.DATABASE_CPU] = tuple(_database_cpu(scope))
    analyses = [source for source in ANALYSES if source in sources]
    if analyses:
        note(f"Measuring {', '.join(analyses)}.")
        answers.update(_analyses(analyses, scope))
    for source in sources:
        if source in answers:
            continue
        note(f"Measuring {source}.")
        answers[source] = tuple(_by_task(source, scope))
    return answers


def _analyses(sources: Sequence[Source], scope: Scope) -> dict[Source, tuple[Report, ...]]:
    answers: dict[Source, tuple[Report, ...]] = dict.fromkeys(sources, ())
    for name, target in scope.databases.items():
        found = contained(
            f"Database {name}",
            name,
            run_analyses,
            name,
            target,
            [source.value for source in sources],
            scope.configuration.thresholds,
            scope.earlier,
        )
        # A database that is down answers with one report, which stands for every analysis.
        reports = found if len(found) == len(sources) else found * len(sources)
        for source, report in zip(sources, reports, strict=True):
            said = _with_what_is_due(report) if source is Source.VACUUM else report
            answers[source] = (*answers[source], said)
    return answers


def _with_what_is_due(report: Report) -> Report:
    """Say as a finding what the plan of a vacuum holds: a diagnosis reads findings."""
    planned = (o.action for o in report.outcomes if o.verdict is Verdict.PLANNED)
    due = [action.subject for action in planned if action.statement != DATABASE_STATISTICS]
    if not due:
        return report
    named = ", ".join(due[:NAMED_TABLES]) + (" and others" if len(due) > NAMED_TABLES else "")
    finding = Finding(
        code="vacuum-due",
        severity=Severity.WARNING,
        subject=report.title,
        sentence=f"{counted(len(due), 'table is', 'tables are')} due for VACUUM or ANALYZE: {named}.",
        evidence={"tables": due},
        advice="Plans follow statistics, and dead rows are read with the others.",
        commands=("python manage.py maintenance run vacuum_analyze --dry-run",),
    )
    return replace(report, findings=(*report.findings, finding))


def _by_task(source: Source, scope: Scope) -> Iterator[Report]:
    """Call the function of a task on each of its targets, as a run would, and store nothing."""
    name, given = _TASKS[source]
    spec = task_named(name)
    options = parse_options(spec.options_type, given)
    for target_name in spec.target_names(scope.configuration):
        title = f"{spec.short_name} {target_name}".strip()
        try:
            target = spec.resolve_target(scope.configuration, target_name)
        except Skipped as reason:
            yield not_measured(title, target_name, reason)
            continue
        job = job_after(scope.earlier, name, target_name, target, options)
        if source in _FROM_THE_START:
            job = replace(job, previous_state={})
        yield from contained(title, target_name, spec.function, job)


def _database_cpu(scope: Scope) -> Iterator[Report]:
    for name, target in scope.databases.items():
        yield from contained(f"Processor time of {name}", name, measure_database_cpu, name, target)


def measure_database_cpu(name: str, target: DatabaseTarget) -> Report:
    """Watch the processes of a database server for a second, if it runs on this machine."""
    from maintenance.host.server_cpu import measure_server_cpu  # noqa: PLC0415 - only where asked for

    title = f"Processor time of {name}"
    with connect(target, purpose="processor time") as connection:
        cpu = measure_server_cpu(connection.info.backend_pid)
    if cpu is None:
        missing = unavailable(
            "database-cpu",
            name,
            f"the processor time of {name}",
            "a look from the machine that the server runs on, without a pooler in between",
        )
        return Report(title, missing.sentence, findings=(missing,))
    share = percent(cpu.used_ratio)
    sentence = (
        f"The server of {name} uses {share} of {counted(cpu.processors, 'processor')}"
        f" with {counted(cpu.processes, 'process', 'processes')}."
    )
    evidence = {"used_ratio": cpu.used_ratio, "processors": cpu.processors, "seconds": cpu.seconds}
    if cpu.used_ratio <= HIGH_CPU_RATIO:
        return Report(title, sentence, facts=evidence)
    finding = Finding(
        code="database-cpu-high",
        severity=Severity.WARNING,
        subject=name,
        sentence=f"{sentence} The limit is {percent(HIGH_CPU_RATIO)}.",
        evidence=evidence,
        advice="See which statements take it before anything is enlarged.",
    )
    return Report(title, sentence, findings=(finding,), facts=evidence)
