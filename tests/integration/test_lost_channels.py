"""Connections to a broker that is gone: what they held is let go, in beat and worker alike."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu.asynchronous import Hub
from kombu.asynchronous.timer import Timer
from kombu.transport import redis as kombu_redis

from maintenance.core.frozen_heap import freeze_heap
from maintenance.core.runs.lost_channels import (
    ClosingChannel,
    ClosingSentinelChannel,
    close_lost_channels,
)
from maintenance.core.runs.patient_consumer import PatientConsumer, forget_cancelled
from service.embedded.valkey import EmbeddedValkey


@pytest.fixture
def broker(server_root: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    """A broker of this test's own, which may go."""
    with EmbeddedValkey(server_root / f"lost-{request.node.name[:40]}", "word") as server:
        yield server


@pytest.fixture
def amended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What beat and worker do at their start, for one test."""
    for transport in (kombu_redis.Transport, kombu_redis.SentinelTransport):
        monkeypatch.setattr(transport, "Channel", transport.Channel)
    close_lost_channels()


def lost(broker: EmbeddedValkey) -> tuple[kombu.Connection, Any]:
    """Return a connection that is lost while its channel waits for the next message, as a worker's does."""
    connection = kombu.Connection(broker.url())
    with connection.SimpleQueue("lost") as queue:
        queue.put({"a": 1})
    channel = connection.channel()
    taken: list[Any] = []
    consumer = kombu.Consumer(
        channel, [kombu.Queue("lost")], callbacks=[lambda *got: taken.append(got)]
    )
    consumer.consume()
    connection.drain_events(timeout=5)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)
    assert len(taken) == 1
    broker.stop()
    return connection, channel


def test_a_channel_whose_broker_is_gone_is_let_go_with_its_sockets(
    broker: EmbeddedValkey, amended: None
) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    connection, channel = lost(broker)
    gone = [weakref.ref(channel), weakref.ref(connection.transport)]
    assert type(channel) is ClosingChannel

    connection.release()
    channel.close()  # once more does nothing
    del connection, channel
    gc.collect()

    assert [one() for one in gone] == [None, None]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_behind_sentinel_it_is_the_same_amendment(amended: None) -> None:
    assert kombu_redis.SentinelTransport.Channel is ClosingSentinelChannel
    assert ClosingSentinelChannel.close is ClosingChannel.close


def consumer_of(redis_url: str) -> Any:
    """Return what of a consumer is needed to connect."""
    consumer: Any = PatientConsumer.__new__(PatientConsumer)
    consumer.hub, consumer._asked_each_turn = Hub(), set()
    consumer.app, consumer.amqheartbeat = Celery("loop", broker=redis_url), None
    consumer.first_connection_attempt = True
    return consumer


def test_a_loop_asks_the_transport_of_the_present_connection_alone(redis_url: str) -> None:
    consumer = consumer_of(redis_url)
    others = {lambda: None}
    consumer.hub.on_tick.update(others)

    first = consumer.connect()
    asked_first = consumer.hub.on_tick - others
    second = consumer.connect()
    asked = consumer.hub.on_tick - others

    assert len(asked_first) == len(asked) == 1
    assert asked_first.isdisjoint(asked)
    for connection in (first, second):
        connection.release()
    consumer.hub.close()


def test_timers_that_are_cancelled_are_forgotten_and_the_others_stay_in_order() -> None:
    timer = Timer()
    entries = [timer.call_at(when, print, (when,)) for when in (50, 10, 40, 20, 30)]
    queue = timer._queue
    for entry in entries[::2]:
        entry.cancel()

    forget_cancelled(timer)

    assert timer._queue is queue
    assert [(one.eta, *one.entry.args) for one in sorted(queue)] == [(10, 10), (20, 20)]
    assert queue[0].eta == 10


class Held:
    """What holds itself: nothing but a collection lets it go."""

    def __init__(self) -> None:
        self.itself = self


def test_a_worker_that_connects_again_lets_go_of_what_it_had(redis_url: str) -> None:
    consumer = consumer_of(redis_url)
    gc.disable()
    try:
        seen = weakref.ref(Held())
        connection = consumer.connect()
        assert seen() is None
    finally:
        gc.enable()
    connection.release()
    consumer.hub.close()


def test_what_comes_after_a_start_is_collected_by_itself() -> None:
    gc.collect()
    try:
        freeze_heap()
        seen = weakref.ref(Held())
        made = 0
        while seen() is not None and made < 200_000:
            made += len([[] for _ in range(1000)])
        assert seen() is None
    finally:
        gc.unfreeze()
