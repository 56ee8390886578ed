"""The page that a probe asks whether the scheduler and the workers are alive.

It answers 200 ``ok`` or 503 ``failing`` and nothing else, so that it may be open: load balancers,
containers and uptime monitors have no login. What fails is said to whoever may look, by
``health_check --check schedule`` and in the admin. One look serves every probe for
:data:`KEPT_SECONDS` or longer, so that a stranger cannot put load on the ledger.
"""

import logging
import threading
import time

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from maintenance.core.attention.delivering import start_delivery
from maintenance.core.attention.liveness_alarms import note_liveness
from maintenance.core.evidence.liveness import liveness_reports, unjudged_report
from maintenance.core.evidence.liveness_look import look
from maintenance.core.findings import Severity
from maintenance.core.reports import Report

logger = logging.getLogger("maintenance.probes")

#: Probes ask every 10 to 60 s; a dead scheduler is named after a minute.
KEPT_SECONDS = 10.0
#: A look at a hundred thousand schedules takes a second; it is worth no more than this share of a process.
LOOKING_RATIO = 0.05


class _Verdict:
    """The last answer, for as long as it counts; one thread looks at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_alive = False
        self._counts_until = float("-inf")

    def is_alive(self) -> bool:
        """Return whether nothing critical was found."""
        with self._lock:
            asked_at = time.monotonic()
            if asked_at > self._counts_until:
                self._is_alive = _looks_alive()
                looked_at = time.monotonic()
                kept_seconds = max(KEPT_SECONDS, (looked_at - asked_at) / LOOKING_RATIO)
                self._counts_until = looked_at + kept_seconds
            return self._is_alive

    def forget(self) -> None:
        """Look anew at the next question."""
        with self._lock:
            self._counts_until = float("-inf")


def _looks_alive() -> bool:
    try:
        reports = _reports()
        # A scheduler that is dead cannot say so. What could not be judged is not over.
        note_liveness(reports or (unjudged_report(),), are_all=bool(reports))
        start_delivery()
    except (DatabaseError, InterfaceError):  # a ledger that is away runs nothing
        return False
    return bool(reports) and all(report.severity is not Severity.CRITICAL for report in reports)


def _reports() -> tuple[Report, ...]:
    """Look and judge; return nothing where that fails by anything but the ledger, and log why."""
    try:
        return liveness_reports(look())
    except (DatabaseError, InterfaceError):
        raise
    except Exception:
        logger.exception("Whether the scheduler is alive could not be judged")
        return ()


verdict = _Verdict()


@login_not_required  # whoever asks has none, also where the project demands one for every page
@never_cache
@require_safe
def scheduler_probe(_request: HttpRequest) -> HttpResponse:
    """Answer 200 where a scheduler sends and workers take runs, else 503."""
    if verdict.is_alive():
        return HttpResponse("ok\n", content_type="text/plain")
    return HttpResponse("failing\n", content_type="text/plain", status=503)
