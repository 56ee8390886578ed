"""A message whose connection was lost between its task's word and its acknowledgement."""

import logging
from collections.abc import Iterator
from types import MethodType

import kombu
import pytest
from kombu.message import Message

from maintenance.core.runs.patient_consumer import answered_while_connected

logger = logging.getLogger("maintenance.worker")


@pytest.fixture
def connection(redis_url: str) -> Iterator[kombu.Connection]:
    with kombu.Connection(redis_url) as connection:
        yield connection


def delivered(connection: kombu.Connection) -> Message:
    """Send a message, and take it as a consumer does who acknowledges late."""
    with connection.SimpleQueue("patience") as queue:
        queue.put({"a": 1})
    channel = connection.channel()
    message = kombu.Queue("patience", channel=channel).get()
    assert message is not None
    return message


def test_a_message_of_a_lost_connection_is_left_to_the_broker(
    connection: kombu.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    message = delivered(connection)
    connection.collect()  # as the consumer lets go of a connection that was lost
    message.channel._disconnect_pools()  # whose loss kombu has noticed
    with pytest.raises(AttributeError):
        message.ack_log_error(logger, connection.connection_errors)

    with caplog.at_level(logging.WARNING, "maintenance.worker"):
        answered_while_connected(message.ack_log_error)(logger, connection.connection_errors)
    assert "was not answered for on a lost connection" in caplog.text
    assert not message.acknowledged


def test_a_message_of_a_living_connection_is_acknowledged(connection: kombu.Connection) -> None:
    message = delivered(connection)
    answered_while_connected(message.ack_log_error)(logger, connection.connection_errors)

    assert message.acknowledged


def test_an_error_on_a_living_connection_is_raised(connection: kombu.Connection) -> None:
    message = delivered(connection)
    faulty = MethodType(lambda message: message.no_such_name, message)

    with pytest.raises(AttributeError, match="no_such_name"):
        answered_while_connected(faulty)()
