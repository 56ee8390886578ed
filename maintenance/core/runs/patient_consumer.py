"""A worker that outlives its broker: Celery's own part that takes messages, and a way to let go of a lost one."""

import logging
from typing import Any

from celery.worker.consumer import Consumer

logger = logging.getLogger("maintenance.worker")


class PatientConsumer(Consumer):
    """Celery's consumer, for ``worker_consumer``.

    A connection that is lost while a message is not acknowledged ends the worker (kombu 5.7): as it is closed,
    the message is to be given back, over a connection that is not there any more. The ledger knows of that
    run; nothing has to be given back.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of the connection, as Celery does, whatever state it is in."""
        if self.connection is not None:
            self.connection.close = _closing(self.connection)  # type: ignore[method-assign]
        super().on_connection_error_after_connected(exc)


def _closing(connection: Any) -> Any:
    close = connection.close

    def closed() -> None:
        try:
            close()
        except AttributeError as error:
            logger.warning("A lost connection to the broker was let go of: %s", error)
            close()  # its channel counts as closed by now, and is passed over

    return closed
