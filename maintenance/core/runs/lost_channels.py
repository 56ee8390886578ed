"""Channels of a Redis broker that close also where their connection is lost.

kombu 5.7 ends the closing of a channel at the first command that its lost connection refuses. What would have come
after is not done: a finalizer keeps the channel, its transport and their sockets until the process ends, and
channels beside it stay open. A beat keeps two files so for each restart of its broker, and a worker half a megabyte.
"""

import logging
from typing import Any

from kombu.transport import redis as kombu_redis

from maintenance.core.runs.unreadable_items import DiscardsUnreadable

logger = logging.getLogger("maintenance.broker")


class _ClosesInAnyCase:
    """Amends a channel's ``close``."""

    connection: Any
    _qos: Any
    connection_errors: tuple[type[Exception], ...]

    def close(self) -> None:
        """Close it. That a broker which is gone cannot be told so is no error."""
        try:
            super().close()  # type: ignore[misc]  # that of kombu's channel
        except self.connection_errors as error:
            logger.debug("A channel was closed on a lost connection: %r", error)
            self._let_go()

    def _let_go(self) -> None:
        """Do what is left of closing and needs no broker. Closing it once more does nothing then."""
        self.closed, self._in_poll = True, None
        if self._qos is not None:
            self._qos._on_collect.cancel()
        self._disconnect_pools()  # type: ignore[attr-defined]
        self._close_clients()  # type: ignore[attr-defined]
        transport, self._cycle = self.connection, None
        if transport is not None:
            transport.cycle.discard(self)
            transport.close_channel(self)


class ClosingChannel(_ClosesInAnyCase, DiscardsUnreadable, kombu_redis.Channel):  # type: ignore[misc]  # no stubs
    """kombu's channel, for a Redis or Valkey. It also survives what is no message (``unreadable_items``)."""


class ClosingSentinelChannel(_ClosesInAnyCase, DiscardsUnreadable, kombu_redis.SentinelChannel):  # type: ignore[misc]  # no stubs
    """kombu's channel, for a Redis behind Sentinel."""


def close_lost_channels() -> None:
    """Have every connection of this process that is made from now on use these channels.

    kombu names the class of a channel in its transport, and Celery has no setting for it.
    """
    kombu_redis.Transport.Channel = ClosingChannel
    kombu_redis.SentinelTransport.Channel = ClosingSentinelChannel
