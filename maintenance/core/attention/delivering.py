"""The run that sends what waits: started wherever a message was written, or is due again."""

import logging

from django.db.models import Q

from maintenance.conf import configuration
from maintenance.core.redaction import redact
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.failures import LEDGER_AWAY
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.registry import is_registered, task_named
from maintenance.models import Notification, NotificationState, Run, RunState, Trigger

logger = logging.getLogger("maintenance.delivering")

SENDER = "maintenance.send_notifications"


def start_delivery() -> bool:
    """Start the run that sends messages if one is due and none waits to begin; return whether.

    Never raises for a ledger or broker that is away: the row stays, and beat's next look finds it.
    """
    if not configuration().notifications.channels or not is_registered(SENDER):
        return False
    try:
        if not is_due() or Run.objects.filter(task=SENDER, state=RunState.QUEUED).exists():
            return False
        start_run(task_named(SENDER), "", {}, Origin(Trigger.API, actor="messages that are due"))
    except LEDGER_AWAY as error:
        logger.warning("Messages wait: %s", redact(str(error)))
        return False
    return True


def is_due() -> bool:
    """Tell whether a message waits for nothing any more, or was left behind by its sender."""
    now = ledger_now()
    waits = Q(state=NotificationState.PENDING, due_at__lte=now)
    left = Q(state=NotificationState.SENDING, claimed_until__lte=now)
    return Notification.objects.filter(waits | left).exists()
