"""Channels of a Redis broker that take what is no message off its list, and go on.

kombu 5.7 reads, decodes and unpacks what it has taken where it expects no error. An item that cannot be read ends the
worker that took it, and is gone; so every item costs a worker. So does what is published to all workers at once. What
stands among the messages that were given out, and can be given back to no list, keeps every worker from starting.
"""

import logging
from functools import partial
from typing import Any

from kombu.transport import redis as kombu_redis
from redis import Redis

from maintenance.core.runs.envelopes import fault_of_envelope, fault_of_given_out, fault_of_item

logger = logging.getLogger("maintenance.broker")


class _ReadsMessagesAlone:
    """Amends a client: what is no message is as if nothing had come."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[misc]  # the client's
        if command_name == "BRPOP" and answer:
            fault = fault_of_item(answer[1])
            if fault:
                _log_discarded(fault)
                return None
        return answer


class _Client(_ReadsMessagesAlone, Redis):
    pass


class _PrefixedClient(_ReadsMessagesAlone, kombu_redis.PrefixedStrictRedis):
    pass


class _GivesMessagesBackAlone(kombu_redis.QoS):
    """kombu's record of messages that were given out, from which what is none is taken."""

    channel: Any
    _remove_from_indices: Any

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        with self.channel.conn_or_acquire(client) as asked:
            item = asked.hget(self.unacked_key, tag)
        fault = fault_of_given_out(item) if item else ""
        if fault:
            _log_discarded(fault)
            self._remove_from_indices(tag).execute()
        else:
            super().restore_by_tag(tag, client, leftmost)


class DiscardsUnreadable:
    """Amends how a channel receives."""

    QoS = _GivesMessagesBackAlone
    global_keyprefix: str

    def _get_client(self) -> Any:
        made = super()._get_client()  # type: ignore[misc]  # that of kombu's channel
        if made is Redis:
            return _Client
        return partial(_PrefixedClient, global_keyprefix=self.global_keyprefix)

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[misc]  # that of kombu's channel
        except RecursionError:  # of what kombu cannot read, this alone passes it
            _log_discarded("it is nested too deeply")
            return None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        fault = fault_of_envelope(message)
        if fault:
            _log_discarded(fault)
            return False
        return bool(super()._deliver_fanout_message(message, exchange))  # type: ignore[misc]  # likewise


def _log_discarded(fault: str) -> None:
    logger.error("What came from the broker was discarded: %s. Look who can write to it.", fault)
