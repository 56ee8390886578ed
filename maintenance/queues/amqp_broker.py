"""Queues of RabbitMQ, by the broker's own counts."""

import time
from typing import Any

import amqp.exceptions
from kombu import Connection
from kombu.exceptions import OperationalError

from maintenance.conf import BrokerTarget
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.redaction import address_of, redact
from maintenance.queues.measurement import BrokerMeasurement, QueueDepth


def measure_amqp(target: BrokerTarget) -> BrokerMeasurement:
    """Ask for each queue by a passive declaration, which creates nothing (AMQP 0-9-1, queue.declare).

    It answers with the messages that are ready and the consumers; what workers hold and the age of
    messages are told by the management plugin alone. Raises :class:`TargetUnavailable`,
    :class:`MissingRights` and :class:`ConfigurationError`. Costs one exchange a queue.
    """
    url = target.resolved_url()
    try:
        with Connection(
            url, connect_timeout=target.timeout_seconds, transport_options={"max_retries": 0}
        ) as connection:
            depths = tuple(_depth(connection, queue) for queue in target.queues)
    except ValueError:  # of a port that is none: it quotes a piece of what may be the password
        raise ConfigurationError(
            f"{address_of(url)} is not the URL of a broker. Write amqp://user:password@host:5672/vhost;"
            " quote special characters of the password (%2F for /, %40 for @)."
        ) from None
    except amqp.exceptions.AccessRefused as error:
        raise MissingRights(
            f"{address_of(url)} refused: {redact(str(error))}. Check the user, the password and the"
            " virtual host in the URL of this target."
        ) from None
    except (OperationalError, amqp.exceptions.AMQPError, OSError) as error:
        raise TargetUnavailable(
            f"{address_of(url)} cannot be reached: {redact(str(error)).rstrip('. ')}. Check that the"
            " broker runs, and the host and port of this target."
        ) from None
    return BrokerMeasurement(depths, time.time())


def _depth(connection: Connection, queue: str) -> QueueDepth:
    # A refusal closes the channel: each queue has its own.
    channel: Any = connection.channel()  # the stubs know the least of all transports
    try:
        declared = channel.queue_declare(queue, passive=True)
    except amqp.exceptions.NotFound:
        return QueueDepth(queue, 0, {}, missing=True)
    channel.close()
    pending = declared.message_count
    return QueueDepth(
        queue, pending, {0: pending} if pending else {}, consumers=declared.consumer_count
    )
