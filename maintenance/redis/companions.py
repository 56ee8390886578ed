"""Companion keys that outlived their stream: it was evicted or erased, and they would stay for ever.

They are judged as streams are (:mod:`maintenance.redis.abandoned`): counted by one answer, removed
by a second one, and then only what was counted. One whose stream is there stays, and goes with it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from maintenance.conf import StreamFamily
from maintenance.redis.abandoned_servers import EXISTS, MEMORY_USAGE, SAMPLE_EVERY, UNLINK, Server
from maintenance.redis.abandoned_tally import AbandonedTally
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.owners import Departures
from maintenance.redis.pages import page_size, scanned
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis.stream_claims import keys_of
from maintenance.redis_client.batch_size import clocked
from maintenance.redis_client.globs import escape_glob, matcher


def companion_globs(family: StreamFamily) -> list[str]:
    """Return the patterns that find the companions of a family's streams, one for each template."""
    globs = []
    for template in family.companions:
        before, _, after = template.partition("{key}")
        globs.append(f"{escape_glob(before)}{family.pattern or '*'}{escape_glob(after)}")
    return globs


def keys_of_others(name: str, families: Mapping[str, StreamFamily]) -> Callable[[bytes], bool]:
    """Return whether a key is a stream, or may be a companion, of another family than ``name``.

    Raises as :func:`maintenance.redis.stream_claims.keys_of`.
    """
    others = [family for other, family in families.items() if other != name]
    is_stream = keys_of(others)
    is_companion = matcher(glob for family in others for glob in companion_globs(family))
    return lambda key: is_stream(key) or is_companion(key)


class LeftCompanions:
    """Those of one family, on all servers of its target."""

    def __init__(
        self,
        tally: AbandonedTally,
        servers: Sequence[Server],
        streams: HashedIds,
        is_of_others: Callable[[bytes], bool],
    ) -> None:
        """Leave out companions of ``streams``, which go with them, and keys that others have."""
        self._tally = tally
        self._counts = tally.companions_left
        self._servers = servers
        self._streams = streams
        self._is_of_others = is_of_others
        self._forms = [tally.form.companions(one) for one in tally.family.companions]
        self._counted = HashedIds()

    def count(self, departures: Departures) -> None:
        """Count companions whose owner has left and whose stream is not there.

        Raises redis-py's errors, explained.
        """
        counts = self._counts
        for server, keys in self._walk("counting"):
            counts.keys_seen += len(keys)
            gone = [key for key in keys if self._has_left(key, departures)]
            own = [key for key in gone if not self._is_of_others(key)]
            counts.keys_of_others += len(gone) - len(own)
            left = [key for key in self._without_stream(own) if self._counted.add(key)]
            counts.take_gone(left)
            if left and not counts.memory_denied:
                counts.take_memory(server.writes.run(MEMORY_USAGE.for_keys(left[::SAMPLE_EVERY])))

    def remove(self, departures: Departures, pace: Pace) -> None:
        """Remove what was counted, where it is still so. Raises as :meth:`count`."""
        started = time.perf_counter()
        for server, keys in self._walk("removing"):
            due = (k for k in keys if k in self._counted and self._has_left(k, departures))
            while some := list(islice(due, min(server.batch_size.units, pace.most_at_once))):
                left = self._without_stream(some)
                began, *replies, ended = server.writes.run(clocked(UNLINK.for_keys(left)))
                server.batch_size.take(len(left), began, ended)
                removed = sum(map(self._tally.removed, replies))
                self._counts.removed_keys += removed
                pace.wrote(removed)
        self._counts.duration_seconds = time.perf_counter() - started

    def _walk(self, phase: str) -> Iterator[tuple[Server, Sequence[bytes]]]:
        """Yield the keys that look like companions, page by page, with the server that has them."""
        for glob in companion_globs(self._tally.family):
            for server in self._servers:
                size = page_size(self._tally.family.keys_per_batch)
                walked = 0
                for keys, _ in scanned(server.looks, glob.encode(), (), size):
                    walked += max(size.units, len(keys))
                    server.report(walked, f"{phase} companions of {self._tally.name}")
                    yield server, keys

    def _has_left(self, key: bytes, departures: Departures) -> bool:
        """Whether everybody has left whose stream or companion a key of this name could be.

        Not where its stream is to be removed: it goes with that.
        """
        forms = [form for form in (self._tally.form, *self._forms) if form.matches(key)]
        return all(departures.include(form.owner(key)) for form in forms) and not any(
            stream in self._streams for stream in self._streams_of(key)
        )

    def _streams_of(self, key: bytes) -> list[bytes]:
        return [self._tally.form.key(form.owner(key)) for form in self._forms if form.matches(key)]

    def _without_stream(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys whose stream is on no server, whatever its type."""
        pairs = [(key, stream) for key in keys for stream in self._streams_of(key)]
        there: set[bytes] = set()
        for server in self._servers:
            own = [(key, stream) for key, stream in pairs if server.node.owns(stream)]
            replies = server.writes.run(EXISTS.for_keys([stream for _, stream in own]))
            for (key, _), reply in zip(own, replies, strict=True):
                if isinstance(reply, Exception):
                    self._tally.take_error(reply)  # it moves to another node: nobody can tell
                if reply != 0:
                    there.add(key)
        return [key for key in keys if key not in there]
