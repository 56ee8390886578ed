"""A worker that outlives its broker and its messages, ends when told and tells no password: Celery's own consumer, amended."""

import gc
import logging
from heapq import heapify
from typing import Any

from celery.app.utils import filter_hidden_settings
from celery.exceptions import WorkerTerminate
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.transport.virtual import Channel

from maintenance.core.runs.compressed_messages import refuse_compression
from maintenance.core.runs.envelopes import fault_of_heading
from maintenance.core.runs.lost_channels import close_lost_channels

logger = logging.getLogger("maintenance.worker")

#: Between two looks for cancelled timers; a look costs a microsecond for each that there is.
FORGET_SECONDS = 60.0


class PatientConsumer(Consumer):
    """Celery's consumer, for ``worker_consumer``.

    A connection that is lost while a message is not acknowledged ends the worker (kombu 5.7): as it is closed,
    the message is to be given back, over a connection that is not there any more. The ledger knows of that
    run; nothing has to be given back.

    A message is acknowledged a moment after its task says so. Where its connection was lost in that moment, the channel
    has nothing left to say it with, and the worker ends (kombu 5.7). The broker gives such a message out again.

    A signal to end stops the pool wherever the loop is (Celery 5.7). In the middle of its turn the loop asks the
    pool how many processes it has, and the worker ends by that error, with exit code 1, and not as it was told.

    A message whose task, id, content type or encoding is no text ends the worker by an error that nobody catches
    (Celery 5.7). It is given back at the end, and so ends the next worker as well.

    A worker that is asked for its state (``inspect stats``, Flower's pages) answers with the options of its broker,
    and with the sentinels' password among them (Celery 5.7).
    """

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc, valid-type]  # a variable to the stubs
        """The consumer's parts, whose answer holds no password."""

        def info(self, parent: Any) -> dict[str, Any]:
            """Return what Celery says, with stars for what its own list of settings calls hidden."""
            said: dict[str, Any] = super().info(parent)
            broker = said.get("broker")
            if isinstance(broker, dict):
                broker.update(
                    filter_hidden_settings({"transport_options": broker["transport_options"]})
                )
            return said

    loop: Any
    hub: Any
    connection_errors: Any
    _asked_each_turn: set[Any]

    def connect(self) -> Any:
        """Connect, and have the loop forget the connection before.

        Its transport is asked at each turn what to read, for as long as the worker lives (kombu 5.7).
        """
        if self.hub is None:
            return super().connect()
        before = set(self.hub.on_tick)
        connection = super().connect()
        asked = self.hub.on_tick - before
        self.hub.on_tick.difference_update(self._asked_each_turn)
        self._asked_each_turn = asked
        gc.collect()  # the lost connection is a large cycle
        return connection

    def register_with_event_loop(self, hub: Any) -> None:
        """Take part in the loop of a new connection, and keep its timers few.

        A timer that is cancelled stays until its time comes (kombu 5.7), with all that it refers to: that of
        each task's time limit for half an hour and more after the task has ended.
        """
        super().register_with_event_loop(hub)
        forget_cancelled(hub.timer)
        hub.timer.call_repeatedly(FORGET_SECONDS, forget_cancelled, (hub.timer,))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        close_lost_channels()
        refuse_compression()
        # What the transport of the present connection has the loop call.
        self._asked_each_turn = set()
        super().__init__(*args, **kwargs)
        self.loop = _ending_as_told(self.loop)

    def create_task_handler(self, *arguments: Any, **options: Any) -> Any:
        """Return Celery's own handler of messages, behind a look at what it finds their task by."""
        handle = super().create_task_handler(*arguments, **options)

        def handle_headed(message: Any) -> Any:
            fault = _fault_of(message)
            if not fault:
                return handle(message)
            logger.error("A message was discarded: %s. Look who can write to the broker.", fault)
            answered_while_connected(message.reject_log_error)(logger, self.connection_errors)
            return None

        return handle_headed

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer for a message as soon as the loop comes to it, unless what brought it is gone by then."""
        answered = answered_while_connected(p)
        return super().call_soon_ack(answered, *args, **kwargs)  # type: ignore[misc]  # newer than the stubs

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of the connection, as Celery does, whatever state it is in."""
        if self.connection is not None:
            self.connection.close = _closing(self.connection)  # type: ignore[method-assign]
        super().on_connection_error_after_connected(exc)


def _fault_of(message: Any) -> str:
    heading = message.headers
    if (
        isinstance(heading, dict) and "task" not in heading
    ):  # Celery's first protocol, or none of Celery's
        try:
            heading = message.decode()
        except Exception:  # noqa: BLE001 - Celery's handler catches any, and says so in the log
            return ""
    return fault_of_heading(heading, message.content_type, message.content_encoding)


def forget_cancelled(timer: Any) -> None:
    """Take timers that are cancelled out of a loop's queue, which stays the same list."""
    queue = timer._queue
    kept = [scheduled for scheduled in queue if not scheduled.entry.canceled]
    if len(kept) < len(queue):
        queue[:] = kept
        heapify(queue)


def _ending_as_told(loop: Any) -> Any:
    def run(*arguments: Any) -> Any:
        try:
            return loop(*arguments)
        except Exception as error:
            exitcode: Any = state.should_terminate
            if not exitcode:
                raise
            logger.info("The turn in which the worker was told to end was not completed: %r", error)
            raise WorkerTerminate(exitcode) from error

    return run


def answered_while_connected(answer: Any) -> Any:
    """Return what does ``answer``, a message's ``ack_log_error`` or ``reject_log_error``, on a living connection only."""

    def answered(*arguments: Any) -> None:
        try:
            answer(*arguments)
        except AttributeError as error:
            channel = answer.__self__.channel
            if not isinstance(channel, Channel) or _is_connected(channel):
                raise
            logger.warning("A message was not answered for on a lost connection: %s", error)

    return answered


def _is_connected(channel: Any) -> bool:
    return channel.connection is not None and channel.connection.client is not None


def _closing(connection: Any) -> Any:
    close = connection.close

    def closed() -> None:
        try:
            close()
        except AttributeError as error:
            logger.warning("A lost connection to the broker was let go of: %s", error)
            close()  # its channel counts as closed by now, and is passed over

    return closed
