"""``maintenance doctor``: whether all stands that maintenance stands on, and what mends the rest."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

import psycopg2
import redis
from celery import current_app
from django.conf import settings
from django.core import checks

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.errors import sentence_of
from maintenance.commands.exit_codes import ExitCode, of_reports
from maintenance.commands.health.crew import log_store, workers
from maintenance.commands.measuring import contained
from maintenance.conf import Configuration, sound_part
from maintenance.conf.references import is_reference
from maintenance.conf.toml_file import ReadableFile, read_file
from maintenance.core.errors import MaintenanceError, Skipped, UnknownName
from maintenance.core.evidence.liveness import liveness_reports
from maintenance.core.evidence.liveness_look import look
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.suggestions import did_you_mean
from maintenance.reports.publication import of_reports as publication_of

T = TypeVar("T")

#: Targets that are looked at beside one another: what does not answer is waited for once.
_AT_ONCE = 8
#: The check that tells the faults of the configuration, which are told by themselves here.
_CONFIGURATION_CHECK = "maintenance.E001"
#: Settings in which "${name}" is somebody else's variable: of Nginx in a format, of a dollar-quoted text in SQL.
_NOT_OF_THE_ENVIRONMENT = {"format", "sql"}
_LEFT_OUT = (
    " The configuration has faults, which the doctor tells without --target: they may hide it."
)


def doctor(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Look at everything, or at one target; the exit code is the verdict."""
    from maintenance.doctor import examination, screen  # noqa: PLC0415 - all subjects

    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    path = getattr(settings, "MAINTENANCE_FILE", None)
    file = read_file(path) if path else None
    configuration, faults = sound_part(getattr(settings, "MAINTENANCE", {}))
    hooks = list(_faults_of_hooks(configuration, file))
    if options["sql"]:
        return _print_statements(command, configuration, options["target"])
    known = examination.examinations(configuration)
    is_whole = not faults and not (file and file.faults)
    chosen = chosen_targets(options["target"], known, is_whole=is_whole)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reports = list(pool.map(examination.examined, chosen, chosen.values()))
    if not options["target"]:
        others = examination.unset_secrets(_other_references(configuration))
        told = [*_faults(faults, file), *hooks, *others]
        reports.insert(0, examination.report_of("configuration", told))
        reports += _crew(configuration, is_sound=not faults)
        reports += _signatures()
    if choice.format_name == "text":
        summary = screen.verdict(reports)
        command.publish_text(lambda width: screen.screen(reports, width), summary, choice)
    else:
        command.publish(publication_of("Doctor", reports), choice)
    answers = {report.title: [report] for report in reports}
    return of_reports(answers, fail_on, each_is_required=False)


def chosen_targets(
    given: str | None, known: Mapping[str, T], *, is_whole: bool = True
) -> Mapping[str, T]:
    """Return the targets of a path (``databases.site``) or a name (``site``), or all.

    Raises ``UnknownName`` with a suggestion. Where the configuration is not whole, the name may be that of
    a target with a fault.
    """
    if given is None:
        return known
    chosen = {path: one for path, one in known.items() if given in {path, path.partition(".")[2]}}
    if not chosen:
        names = {*known, *(path.partition(".")[2] for path in known)}
        raise UnknownName(
            f'Unknown target "{given}". {did_you_mean(given, names)}{"" if is_whole else _LEFT_OUT}'
        )
    return chosen


# --- The configuration ---------------------------------------------------------------------------


def _faults(faults: Sequence[str], file: ReadableFile | None) -> Iterator[Finding]:
    from maintenance.doctor import configuration  # noqa: PLC0415 - all subjects

    if file is not None:
        yield from configuration.file_faults(file)
    yield from configuration.setting_faults(faults, file)
    for message in checks.run_checks():
        if message.id == _CONFIGURATION_CHECK or message.level < checks.WARNING:
            continue
        serious = message.level >= checks.ERROR
        yield Finding(
            str(message.id or "check"), Severity.CRITICAL if serious else Severity.WARNING,
            str(message.obj or message.id or "check"), str(message.msg), advice=str(message.hint or ""),
        )  # fmt: skip
    if not faults and not (file and file.faults):
        yield Finding(
            "configuration", Severity.OK, "configuration", "every setting is known and possible"
        )


def _faults_of_hooks(configuration: Configuration, file: ReadableFile | None) -> Iterator[Finding]:
    """Import the hook modules, which register what is looked at, as every other process does at its start."""
    from maintenance.doctor.configuration import fault_of_hook  # noqa: PLC0415 - all subjects

    for module in configuration.hook_modules:
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - code of the site, which may raise anything
            yield fault_of_hook(module, error, file)


def _other_references(configuration: Configuration) -> dict[str, str]:
    """Return references that stand outside of the targets which are looked at, by their paths."""
    looked_at = {"databases", "redis", "brokers", "caches"}
    dumped = configuration.model_dump(exclude=looked_at)
    return dict(_references(dumped, ()))


def _references(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _NOT_OF_THE_ENVIRONMENT:
                yield from _references(one, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _references(one, (*path, str(number)))
    elif isinstance(value, str) and is_reference(value):
        yield ".".join(path), value


# --- Our own crew --------------------------------------------------------------------------------


def _crew(configuration: Configuration, *, is_sound: bool) -> Iterator[Report]:
    """Look at ledger and beat, workers and broker, and the log store."""
    for titles, reports in (
        ("beat and ledger", contained("Scheduler", "", lambda: liveness_reports(look()))),
        ("workers", contained("Workers", "", workers, current_app)),
        ("log store", contained("Log store", "", _store, configuration, is_sound)),
    ):
        findings = [finding for report in reports for finding in report.findings]
        held = [
            Finding("crew", Severity.OK, titles, report.summary)
            for report in reports
            if not report.findings
        ]
        worst = max(findings, key=lambda finding: finding.severity.rank, default=None)
        summary = worst.sentence if worst else "All of it holds."
        yield Report(titles, summary, findings=(*findings, *held))


def _store(configuration: Configuration, is_sound: bool) -> Report:
    if not is_sound:
        raise Skipped("not looked at before the configuration is corrected.")
    return log_store(configuration)


def _signatures() -> Iterator[Report]:
    """Look at the certificates of an application that signs its messages."""
    from maintenance.doctor import examination, signatures  # noqa: PLC0415 - all subjects

    celery = current_app.conf
    if celery.security_certificate:
        found = signatures.signing_certificates(
            str(celery.security_certificate), str(celery.security_cert_store or "")
        )
        yield examination.report_of("signed messages", list(found))


# --- Roles and users -----------------------------------------------------------------------------


def _print_statements(
    command: MaintenanceCommand, configuration: Configuration, target: str | None
) -> ExitCode:
    """Print roles and users with the least rights; what cannot be asked is told on standard error."""
    from maintenance.doctor import redis_needs, statements  # noqa: PLC0415 - all subjects

    servers = redis_needs.needs_of_servers(configuration)
    known = [*(f"databases.{name}" for name in configuration.databases), *servers]
    code = ExitCode.HEALTHY
    for title in chosen_targets(target, dict.fromkeys(known)):
        section, _, name = title.partition(".")
        try:
            if section == "databases":
                lines = list(
                    statements.statements_of_database(configuration.databases[name], title)
                )
            else:
                server = statements.server_of(configuration, title)
                if server.resolved_url().startswith("amqp"):
                    continue  # RabbitMQ: its permissions are no SQL and no ACL
                lines = list(statements.users_of_redis(server, title, servers[title]))
        except (MaintenanceError, psycopg2.Error, redis.RedisError) as error:
            command.note(f"{title}: {sentence_of(error)}")
            code = ExitCode.NOT_MEASURED
            continue
        command.stdout.write("\n".join([*lines, ""]))
    return code


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", metavar="NAME", help="One alone: databases.site, or site for all of that name."
    )
    parser.add_argument(
        "--sql",
        action="store_true",
        help="Print roles of PostgreSQL and users of Redis with the least rights; nothing is run.",
    )
    arguments.add_fail_on_argument(parser)
    arguments.add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "doctor",
    "What holds and what is missing on every target, with the line that mends it.",
    _add_arguments,
    doctor,
)
