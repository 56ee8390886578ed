"""Measuring several targets, so that one that is down does not hide the others."""

from collections.abc import Callable, Iterable
from typing import ParamSpec

import psycopg2
import redis.exceptions
from django.conf import settings
from django.db import DatabaseError, connections

from maintenance.commands.errors import sentence_of
from maintenance.conf import Configuration, DatabaseTarget
from maintenance.core.errors import (
    ConfigurationError,
    MissingRights,
    NotConfigured,
    Skipped,
    TargetUnavailable,
    UnknownName,
)
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.suggestions import did_you_mean

P = ParamSpec("P")

#: Codes of the finding that says why a report holds no measurement.
NOT_MEASURED, NOT_CONFIGURED = "not-measured", "not-configured"

_EXPECTED = (
    TargetUnavailable,
    MissingRights,
    NotConfigured,
    Skipped,
    ConfigurationError,
    psycopg2.Error,
    redis.exceptions.RedisError,
    DatabaseError,
    OSError,
)


def chosen_databases(configuration: Configuration, name: str | None) -> dict[str, DatabaseTarget]:
    """Return the databases to measure: the named one, or every configured one.

    Where nothing is configured it is the Django alias ``default``. Raises ``UnknownName`` with a
    suggestion, and ``ConfigurationError`` for an alias that is no PostgreSQL database.
    """
    if name is None:
        return dict(configuration.databases) or {"default": _of_alias("default")}
    if name in configuration.databases:
        return {name: configuration.databases[name]}
    if name in settings.DATABASES:
        return {name: _of_alias(name)}
    known = {*configuration.databases, *settings.DATABASES}
    raise UnknownName(f'Unknown database "{name}". {did_you_mean(name, known)}')


def _of_alias(alias: str) -> DatabaseTarget:
    if connections[alias].vendor != "postgresql":
        raise ConfigurationError(
            f'The database "{alias}" is no PostgreSQL database (its engine is'
            f" {settings.DATABASES[alias]['ENGINE']})."
            " Name one that is."
        )
    return DatabaseTarget(alias=alias)


def contained(
    title: str,
    target: str,
    measure: Callable[P, Report | Iterable[Report]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> tuple[Report, ...]:
    """Call ``measure`` and return its reports, or one report that says why there is none."""
    try:
        measured = measure(*args, **kwargs)
        return (measured,) if isinstance(measured, Report) else tuple(measured)
    except _EXPECTED as error:
        return (not_measured(title, target, error),)


def not_measured(title: str, target: str, error: Exception) -> Report:
    """Say why nothing was measured. A target that is down is critical; a missing right is not."""
    sentence = sentence_of(error)
    mild = isinstance(error, MissingRights | Skipped)
    return Report(
        title=title,
        summary=f"Not measured: {sentence}",
        findings=(
            Finding(
                code=NOT_CONFIGURED if isinstance(error, NotConfigured) else NOT_MEASURED,
                severity=Severity.INFO if mild else Severity.CRITICAL,
                subject=target or "site",
                sentence=f"unavailable: {sentence}",
                measured=False,
            ),
        ),
    )


def sentences_of_failures(reports: Iterable[Report]) -> list[str]:
    """Return, once each, why targets could not be measured: what standard error shows."""
    found = (
        finding.sentence.removeprefix("unavailable: ")
        for report in reports
        for finding in report.findings
        if finding.code in {NOT_MEASURED, NOT_CONFIGURED}
    )
    return list(dict.fromkeys(found))
