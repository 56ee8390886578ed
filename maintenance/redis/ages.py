"""Members older than a family keeps them: scores of a sorted set, or entry IDs, read as times.

A number that is no time of this century is never taken for an old one: a family of counts, or one
whose scores have another unit than configured, keeps all its members.
"""

from collections.abc import Iterator
from typing import Any

from maintenance.conf import StreamFamily
from maintenance.redis.stream_groups import EntryId
from maintenance.redis_client.packed import Exchange, Packer, pack

#: 2001-09-09: the first second with ten digits. No stream is older; what is below is no time, or
#: one in another unit.
EARLIEST_EPOCH_SECONDS = 1_000_000_000
#: One write removes at most about so many members; each takes a way there and back of its own.
STEP_MEMBERS = 500


class AgeRule:
    """The commands that find and remove members of before ``cutoff_epoch_seconds``."""

    def __init__(self, family: StreamFamily, cutoff_epoch_seconds: float) -> None:
        """Prepare for the type of the family.

        The scores of a sorted set that keeps its lowest are negative times: the newest is lowest.
        """
        per_second = 1000 if family.type == "stream" or family.score_unit == "milliseconds" else 1
        cutoff = int(cutoff_epoch_seconds * per_second)
        self.cutoff_id = EntryId(cutoff, 0)  # of a stream
        self._earliest = EARLIEST_EPOCH_SECONDS * per_second
        self._is_stream = family.type == "stream"
        if self._is_stream:
            self._cutoff = bytes(self.cutoff_id)
            self.look = Packer([b"XRANGE"], [b"-", b"(" + self._cutoff, b"COUNT", b"1"])
            self.trim = Packer([b"XTRIM"], [b"MINID", b"=", self._cutoff])
            self._step = Packer(
                [b"XTRIM"], [b"MINID", b"~", self._cutoff, b"LIMIT", b"%d" % STEP_MEMBERS]
            )
            self.commands = {b"XRANGE", b"XTRIM"}
            return
        ends = (b"%d" % self._earliest, b"(%d" % cutoff)
        if family.kept_end == "lowest":
            ends = (b"(-%d" % cutoff, b"-%d" % self._earliest)
        self._lowest, self._highest = ends
        self.look = Packer([b"ZCOUNT"], ends)
        self.trim = Packer([b"ZREMRANGEBYSCORE"], ends)
        self._nth = Packer(
            [b"ZRANGE"],
            [*ends, b"BYSCORE", b"LIMIT", b"%d" % (STEP_MEMBERS - 1), b"1", b"WITHSCORES"],
        )
        self.commands = {b"ZCOUNT", b"ZRANGE", b"ZREMRANGEBYSCORE"}

    @property
    def statement(self) -> str:
        """The write as a person would type it."""
        if self._is_stream:
            return f"XTRIM <key> MINID = {self._cutoff.decode()}"
        return f"ZREMRANGEBYSCORE <key> {self._lowest.decode()} {self._highest.decode()}"

    def expired(self, reply: Any) -> int:
        """Return how many members are too old by a reply to the look; of a stream 1 for any.

        An entry ID that is no time says nothing about age: -1 then.
        """
        if not self._is_stream:
            return int(reply)
        if not reply:
            return 0
        milliseconds = int(reply[0][0].partition(b"-")[0])
        return 1 if milliseconds >= self._earliest else -1

    def trim_in_steps(self, exchange: Exchange, key: bytes) -> Iterator[Any]:
        """Remove the old members of a key with many of them; yield each write's reply.

        Where many members share one score they go together: at most as many as the length limit
        of the family, which was enforced before.
        """
        while True:
            write = self._next_step(exchange, key)
            (reply,) = exchange.run([write or self.trim.for_key(key)])
            # A stream gives whole nodes away, so a step of 0 leaves less than one to the last write.
            if write is None or isinstance(reply, Exception):
                yield reply
                return
            if reply == 0:
                yield from exchange.run([self.trim.for_key(key)])
                return
            yield reply

    def _next_step(self, exchange: Exchange, key: bytes) -> bytes | None:
        """Return a write that removes a bounded part; ``None`` where the rest fits in one write."""
        if self._is_stream:
            return self._step.for_key(key)
        (found,) = exchange.run([self._nth.for_key(key)])
        if isinstance(found, Exception) or not found:
            return None
        return pack(b"ZREMRANGEBYSCORE", key, self._lowest, found[1])
