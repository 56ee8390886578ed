"""Messages of queued runs: sent in bulk over one connection, each noted once its broker took it.

A run that cannot be sent stays queued, and is sent later by ``dispatch.mend``.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celery import current_app
from celery.exceptions import QueueNotFound
from django.db.models.functions import Now
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from maintenance.core.redaction import redact
from maintenance.core.runs.foreign_tasks import ForeignMessage, is_foreign, read_messages
from maintenance.core.runs.tracing import traced_message
from maintenance.core.runs.watched_tasks import is_watched
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.dispatch")

#: So many messages are sent before they are noted as sent: what a killed process sends twice at most.
MESSAGES_PER_NOTE = 50
#: A broker that does not answer is asked once more, over a new connection. The caller comes again.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
_BROKER_ERRORS = (OperationalError, RedisError, OSError)


@dataclass(slots=True)
class Sent:
    """What became of some runs.

    ``unsendable`` has those that no later try can send, ``refused`` those that Celery does not take as they are: each
    with the reason.
    """

    count: int = 0
    is_broker_away: bool = False
    unsendable: list[tuple[Run, str]] = field(default_factory=list)
    refused: list[tuple[Run, str]] = field(default_factory=list)


def send(runs: Sequence[Run], may_send: Callable[[], bool] = lambda: True) -> Sent:
    """Send the messages of queued runs, in their order, while ``may_send`` says that it is ours to do.

    Stops at the first one that the broker does not take: it takes seconds to say so, and would for each.
    """
    messages, unsendable = read_messages([run for run in runs if is_foreign(run.task)])
    sent = Sent(unsendable=unsendable)
    left_out = {run.id for run, _reason in unsendable}
    taken: list[Run] = []
    try:
        for run in _sent_ones(
            [run for run in runs if run.id not in left_out], messages, sent.refused, may_send
        ):
            taken.append(run)
            sent.count += 1
            if len(taken) == MESSAGES_PER_NOTE:
                _note(taken)
                taken = []
    except _BROKER_ERRORS as error:
        sent.is_broker_away = True
        left = len(runs) - len(left_out) - sent.count
        logger.warning("The broker is away, %d runs stay queued: %s", left, redact(str(error)))
    finally:
        _note(taken)
    return sent


def _sent_ones(
    runs: Sequence[Run],
    messages: Mapping[UUID, ForeignMessage],
    refused: list[tuple[Run, str]],
    may_send: Callable[[], bool],
) -> Iterator[Run]:
    """Send one run after another, and yield each that the broker took; add to ``refused`` what Celery does not take."""
    with current_app.producer_or_acquire() as producer:
        for run in runs:
            if not may_send():
                return
            try:
                _send_one(run, messages.get(run.id), producer)
            except QueueNotFound as error:
                refused.append((run, f"It cannot be sent: {error}. Add the queue to task_queues."))
            except (EncodeError, TypeError, ValueError) as error:  # of somebody else's arguments
                refused.append((run, f"It cannot be sent: {redact(str(error))}."))
            else:
                yield run
                continue
            logger.error("Run %s stays queued. %s", run.id, refused[-1][1])


def _send_one(run: Run, message: ForeignMessage | None, producer: Any) -> None:
    options: dict[str, Any] = {
        "task_id": str(run.id),
        "producer": producer,
        "retry": True,
        "retry_policy": _RETRY_POLICY,
    }
    if run.priority is not None:
        options["priority"] = run.priority
    if message is not None:
        message.send(current_app, options)
        return
    task = current_app.tasks.get(run.task)
    if task is None:
        raise ValueError(f"this process knows no task {run.task}")
    arguments = {"target": run.target, "options": run.options}
    with traced_message(run) as headers:
        if headers:
            options["headers"] = headers
        task.apply_async(kwargs=arguments, queue=run.queue, **options)


def _note(runs: Sequence[Run]) -> None:
    """Note what the broker took. It is a fact, whoever leads meanwhile.

    The attempt tells whether a worker has been faster, and has given the run back meanwhile. A task of
    somebody else, whose worker tells us nothing, ends here.
    """
    groups: defaultdict[tuple[int, bool], list[UUID]] = defaultdict(list)
    for run in runs:
        ends = is_foreign(run.task) and not is_watched(current_app)
        groups[run.attempt, ends].append(run.id)
    for (attempt, ends), ids in groups.items():
        queued = Run.objects.filter(id__in=ids, attempt=attempt, state=RunState.QUEUED)
        if ends:
            queued.update(
                state=RunState.SENT,
                published_at=Now(),
                finished_at=Now(),
                reason="",
                available_at=None,
            )
        else:
            queued.update(published_at=Now())
