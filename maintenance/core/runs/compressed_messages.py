"""Messages of RabbitMQ that are compressed: they stay so.

kombu 5.7 unpacks a message as soon as it has it, before anybody looks at its signature, and nothing limits what it becomes.
Nothing of ours is compressed. (On Redis such a message does not come this far: ``unreadable_items``.)
"""

from typing import Any

from kombu.exceptions import DecodeError
from kombu.transport import pyamqp


class UncompressedMessage(pyamqp.Message):
    """kombu's message; one that is compressed counts as unreadable, and its consumer discards it."""

    def __init__(self, received: Any, channel: Any = None, **options: Any) -> None:
        headers = received.properties.get("application_headers") or {}
        if headers.get("compression"):
            fault = DecodeError("it is compressed, which nothing of ours is")
            self.errors = [(DecodeError, fault, None)]
        super().__init__(received, channel=channel, **options)


def refuse_compression() -> None:
    """Have every connection of this process to a RabbitMQ make these messages; Celery has no setting for it."""
    pyamqp.Channel.Message = UncompressedMessage
