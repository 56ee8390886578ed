"""Messages that the broker does not have any more: found by counting them beside the runs that wait.

A message is gone where a broker was emptied, or came back older than it was, and where a worker died
between taking the message and claiming its run. Nobody says so; but a queue with fewer messages than runs
that were sent to it has lost some. A second message for a run does no harm, so it need not be known
which: the runs that were sent first are sent again. A queue with an honest backlog is left alone.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db.models import Q
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from maintenance.core.redaction import redact
from maintenance.core.runs.ledger import MESSAGES_PER_LOOK
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.dispatch")

#: A worker may have a message whose run it has not claimed yet for so long: a pool process that starts
#: anew takes seconds. With a look of ``mend`` every 15 s, what is lost is sent again within 40 s.
HELD_SECONDS = 20.0


def runs_with_lost_messages(now: datetime) -> list[Run]:
    """Return queued runs that were sent longer than :data:`HELD_SECONDS` ago, where messages are missing.

    As many as are missing, those that were sent first, but no more of a queue than are sent at a look.
    Costs one query, and for each queue to which such runs were sent two more and a question to the broker.
    A broker that does not answer is asked no more.
    """
    long_ago = now - timedelta(seconds=HELD_SECONDS)
    sent = Run.objects.filter(state=RunState.QUEUED, published_at__lte=now).filter(
        Q(available_at=None) | Q(available_at__lte=now)
    )
    older = sent.filter(
        Q(available_at=None) | Q(available_at__lt=long_ago), published_at__lt=long_ago
    )
    lost: list[Run] = []
    for queue in older.order_by("queue").values_list("queue", flat=True).distinct():
        try:
            depth = _messages_in(queue)
        except (OperationalError, RedisError, OSError) as error:
            logger.warning(
                "The broker does not say what waits in %s: %s", queue, redact(str(error))
            )
            break
        if depth is None:
            continue
        missing = max(sent.filter(queue=queue).count() - depth, 0)
        lost += older.filter(queue=queue).order_by("published_at")[
            : min(missing, MESSAGES_PER_LOOK)
        ]
    return lost


def _messages_in(name: str) -> int | None:
    """Return how many messages wait in a queue, ``None`` for one that is not ours any more."""
    queue = current_app.amqp.queues.get(name)
    if queue is None:  # nothing is sent to it either
        return None
    # A connection of its own: one of the pool may be of a broker that has restarted since.
    with current_app.connection_for_write() as connection:
        channel = connection.ensure_connection(max_retries=1, interval_start=0).channel()
        # Declared as it is for each message. Kombu's passive way finds no queue on Redis where keys
        # have a prefix.
        answer: Any = queue(channel).queue_declare()  # the stubs have it as text
        return int(answer.message_count)
