"""Starting a run from the admin: the ledger's row, the actor, and the admin's own log together."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from maintenance.admin.base import MaintenanceAdmin
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_database import ledger_alias, ledger_transaction
from maintenance.core.runs.registry import TaskSpec
from maintenance.models import Run, RunState, Trigger
from maintenance.people import noted_name


def start_by_hand(
    request: HttpRequest,
    model_admin: MaintenanceAdmin,
    spec: TaskSpec,
    target: str,
    options: Mapping[str, Any],
    *,
    plan: str = "",
) -> Run:
    """Start a run for the person behind ``request``, who may have seen the ``plan`` of a dry run.

    The message is sent when the row and the log entry are committed. Where the broker does not
    take it, the person is told that the run waits. Raises what :func:`start_run` raises.
    """
    with ledger_transaction():
        origin = Origin(trigger=Trigger.ADMIN, actor=noted_name(request.user))
        run = start_run(spec, target, options, origin)
        model_admin.log_addition(request, run, _log_message(options, plan))
        # Behind the message of start_run. With ATOMIC_REQUESTS that is after the view, and still in
        # time: Django stores what people are told once the view's transaction has ended.
        transaction.on_commit(lambda: _tell_if_unsent(request, run), using=ledger_alias())
    return run


def _tell_if_unsent(request: HttpRequest, run: Run) -> None:
    run.refresh_from_db(fields=["published_at", "state"])
    if run.published_at is None and run.state == RunState.QUEUED:  # a worker may be faster
        messages.warning(
            request,
            _("The broker does not answer. “%(run)s” stays queued and starts when it is back.")
            % {"run": run},
        )


def _log_message(options: Mapping[str, Any], plan: str) -> str:
    listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
    given = f" with {listed}" if listed else ""
    seen = f", after the plan of run {plan}" if plan else ""
    return f"Run by hand{given}{seen}."
