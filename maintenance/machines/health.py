"""``health_check`` over HTTP, as django-health-check answers: ``{"database": "working"}``, and 200 or 500.

What is checked names servers and says what ails them, so that it takes the token ``access.read``, or the login
of somebody who may view runs. The probe without a login is :mod:`maintenance.probes`. One look serves everybody
who asks within :data:`KEPT_SECONDS`, since some checks read a server's keys or a log.

Source of the form: django-health-check documentation, "Machine-readable JSON reports".
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from maintenance.core.errors import MaintenanceError
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.suggestions import did_you_mean
from maintenance.machines.tokens import refused, with_token
from maintenance.people import holds

KEPT_SECONDS = 10.0
WORKING = "working"


class _Answers:
    """The last answer to each check, for as long as it counts; one thread looks at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Sequence[Report]]] = {}

    def to(self, name: str) -> Sequence[Report]:
        """Return the reports of a check. Raises ``MaintenanceError`` where nothing can be asked."""
        with self._lock:
            until, reports = self._kept.get(name, (float("-inf"), ()))
            if time.monotonic() > until:
                reports = _measured(name)
                self._kept[name] = time.monotonic() + KEPT_SECONDS, reports
            return reports

    def forget(self) -> None:
        """Look anew at the next question."""
        with self._lock:
            self._kept.clear()


answers = _Answers()


def _measured(name: str) -> Sequence[Report]:
    # All subjects stand behind the checks: a web process that is never asked does not load them.
    from maintenance.commands.earlier import ReachableRuns  # noqa: PLC0415
    from maintenance.commands.health.registry import run_checks  # noqa: PLC0415
    from maintenance.commands.health.scope import Scope  # noqa: PLC0415
    from maintenance.commands.measuring import chosen_databases  # noqa: PLC0415
    from maintenance.conf import configuration  # noqa: PLC0415

    earlier = ReachableRuns(lambda _sentence: None)
    databases = chosen_databases(configuration(), None)
    return run_checks([name], Scope(earlier.configuration(), databases, earlier))[name]


@login_not_required  # it asks for a token or a login itself
@require_safe
@never_cache
def health_view(request: HttpRequest, name: str = "") -> HttpResponseBase:
    """Run all checks, or one by its name, each with its sentence.

    500 where one is critical or could measure nothing of what is configured, else 200.
    """
    user: Any = getattr(request, "user", None)
    if user is not None and user.is_active and holds(user, "maintenance.view_run"):
        return _answer(request, name)
    return _by_token(request, name)


def _answer(_request: HttpRequest, name: str) -> HttpResponseBase:
    from maintenance.commands.health.registry import CHECKS  # noqa: PLC0415 - as above

    if name and name not in CHECKS:
        return refused(404, f'Unknown check "{name}". {did_you_mean(name, CHECKS)}')
    try:
        found = {each: answers.to(each) for each in ([name] if name else CHECKS)}
    except MaintenanceError as error:
        return refused(500, str(error))
    status = 500 if any(_is_failing(reports) for reports in found.values()) else 200
    return JsonResponse({each: said(reports) for each, reports in found.items()}, status=status)


_by_token = with_token("read")(_answer)


def said(reports: Sequence[Report]) -> str:
    """Return ``working``, or the sentences of what is wrong behind their severity, the worst first.

    So with what could not be measured. A check with nothing to look at, since none is configured, works.
    """
    wrong = sorted(
        (finding for report in reports for finding in _wrong(report)),
        key=lambda finding: -finding.severity.rank,
    )
    if not wrong:
        return WORKING
    return "\n".join(_line(finding) for finding in wrong)


def _wrong(report: Report) -> list[Finding]:
    unknown = _is_unknown(report)
    return [
        finding
        for finding in report.findings
        if unknown or finding.severity in {Severity.WARNING, Severity.CRITICAL}
    ]


def _line(finding: Finding) -> str:
    # What could not be measured says so itself, and "info" would make little of it.
    is_mild = finding.severity.rank < Severity.WARNING.rank
    return finding.sentence if is_mild else f"{finding.severity.value}: {finding.sentence}"


def _is_unknown(report: Report) -> bool:
    """Tell whether nothing was measured of something that is configured."""
    from maintenance.commands.exit_codes import was_measured  # noqa: PLC0415 - as above
    from maintenance.commands.measuring import NOT_CONFIGURED  # noqa: PLC0415

    is_configured = all(finding.code != NOT_CONFIGURED for finding in report.findings)
    return is_configured and not was_measured(report)


def _is_failing(reports: Sequence[Report]) -> bool:
    is_critical = any(report.severity is Severity.CRITICAL for report in reports)
    return is_critical or (bool(reports) and all(_is_unknown(report) for report in reports))
