"""The servers that hold the keys of one target: a single one, or every primary of a cluster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from redis.crc import key_slot

from maintenance.core.errors import TargetUnavailable
from maintenance.core.redaction import address_of
from maintenance.redis_client.connection import HasUrl, session
from maintenance.redis_client.sentinel import primary_url, with_address
from maintenance.redis_client.server import ServerFacts, server_facts

#: What finding the primaries of a cluster takes.
CLUSTER_NEEDS_ACL = ("+cluster|slots",)


@dataclass(frozen=True, slots=True)
class Node:
    """One server. ``slots`` are the hash slots that it serves, inclusive; none means every key."""

    url: str
    client: redis.Redis
    facts: ServerFacts
    slots: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """Host and port."""
        return address_of(self.url)

    def owns(self, key: bytes) -> bool:
        """Whether the key lives here."""
        if not self.slots:
            return True
        slot = key_slot(key)
        return any(first <= slot <= last for first, last in self.slots)


@dataclass(frozen=True, slots=True)
class _Server:
    """One server as a target of its own, with the credentials of the target that it belongs to."""

    url: str
    timeout_seconds: float

    def resolved_url(self) -> str:
        return self.url


@contextmanager
def nodes(target: HasUrl) -> Iterator[list[Node]]:
    """Open a session with each server of a target.

    One node of a cluster is enough to find the others: any may be the target's, a replica as well.
    Raises as :func:`maintenance.redis_client.connection.session`.
    """
    url = primary_url(target)
    with session(_Server(url, target.timeout_seconds)) as client:
        facts = server_facts(client)
        if not facts.cluster_enabled:
            yield [Node(url, client, facts)]
            return
        found = _primaries(client, url)
        if not found:
            raise TargetUnavailable(
                f"{address_of(url)} belongs to a cluster in which no server serves a slot yet."
            )
        with ExitStack() as stack:
            opened: list[Node] = []
            for there, slots in found.items():
                own = stack.enter_context(session(_Server(there, target.timeout_seconds)))
                opened.append(Node(there, own, server_facts(own), tuple(slots)))
            yield opened


def _primaries(client: redis.Redis, url: str) -> dict[str, list[tuple[int, int]]]:
    """Return the URLs of a cluster's primaries with the slots that each serves.

    From CLUSTER SLOTS, which every version knows.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    slots = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    for first, last, primary, *_replicas in slots:
        # No host means the one that was asked: the node does not know its own address.
        host = (primary[0] or b"").decode() or urlsplit(url).hostname or ""
        there = with_address(url, host, int(primary[1]))
        found.setdefault(there, []).append((int(first), int(last)))
    return found
