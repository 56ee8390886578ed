"""What a compressed message on RabbitMQ becomes: nothing."""

from typing import Any

import kombu
import pytest
from kombu.transport import pyamqp

from maintenance.core.runs.compressed_messages import refuse_compression


@pytest.fixture
def amended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker does at its start, for one test."""
    monkeypatch.setattr(pyamqp.Channel, "Message", pyamqp.Channel.Message)
    refuse_compression()


def test_a_compressed_message_is_not_unpacked_and_the_next_one_is_read(
    rabbitmq_url: str, amended: None
) -> None:
    read: list[Any] = []
    unreadable: list[Any] = []

    def discard(message: Any, error: Exception) -> None:
        unreadable.append((len(message.body), str(error)))
        message.ack()

    with kombu.Connection(rabbitmq_url) as connection:
        queue = kombu.Queue("compressed", durable=True)
        producer = connection.Producer()
        for text, compression in (
            ("x" * 1_000_000, "gzip"),
            ("x" * 1_000, "bzip2"),
            ("plain", None),
        ):
            producer.publish(text, "compressed", declare=[queue], compression=compression)
        consumer = connection.Consumer(
            [queue], callbacks=[lambda body, message: (read.append(body), message.ack())],
            on_decode_error=discard,
        )  # fmt: skip
        with consumer:
            while len(read) + len(unreadable) < 3:
                connection.drain_events(timeout=10)
        left = queue(connection.default_channel).get()

    assert read == ["plain"]
    assert [fault for _, fault in unreadable] == ["it is compressed, which nothing of ours is"] * 2
    assert max(size for size, _ in unreadable) < 10_000
    assert left is None
