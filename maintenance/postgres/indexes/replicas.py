"""What replicas scan: no server counts the scans of another."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget, resolve_secret
from maintenance.conf.references import is_reference, shown
from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.connection import address_of_parameters, connect, reason_of
from maintenance.postgres.counters import CounterWindow, measure_window
from maintenance.postgres.indexes.catalog import IndexState
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class ReplicaScans:
    """What one replica has counted, by the oid of the index, in a window of its own.

    ``problem`` says why nothing is known; ``address`` has no password.
    """

    address: str
    window: CounterWindow | None = None
    scans: Mapping[int, int] = field(default_factory=dict)
    problem: str = ""

    def withheld_because(self, needed_seconds: float) -> str:
        """Return why zero scans here do not yet mean unused, empty where they do."""
        if self.problem or self.window is None:
            return f"the replica {self.address} could not be asked: {self.problem}"
        seconds = self.window.seconds
        needed = seconds_in_words(needed_seconds)
        if seconds is None:
            return f"the replica {self.address} does not say since when it counts"
        if seconds < needed_seconds:
            return (
                f"the counters of the replica {self.address} cover {seconds_in_words(seconds)},"
                f" and must cover {needed} first"
            )
        return ""


def measure_replicas(conn: Connection, target: DatabaseTarget) -> tuple[ReplicaScans, ...]:
    """Ask every configured replica; one that does not answer is part of the answer.

    ``conn`` is a session on the target itself, whose replicas they must be.
    """
    if not target.replicas:
        return ()
    identity = query(conn, "database_identity")[0]
    return tuple(
        _measured(url, replica, identity)
        for url, replica in zip(target.replicas, target.replica_targets(), strict=True)
    )


def _measured(url: str, replica: DatabaseTarget, identity: Mapping[str, object]) -> ReplicaScans:
    # Of a reference nothing is secret; a URL that cannot be read may hold the password anywhere.
    address = shown(url) if is_reference(url) else "(unreadable)"
    try:
        address = address_of_parameters({"dsn": resolve_secret(url)})
        with connect(replica, purpose="replica-indexes") as conn:
            scans = {row["oid"]: row["scans"] for row in query(conn, "index_scans")}
            return ReplicaScans(address, measure_window(conn), scans, _fault_of(conn, identity))
    except (TargetUnavailable, MissingRights, ConfigurationError) as error:
        return ReplicaScans(address, problem=str(error).rstrip("."))
    except psycopg2.Error as error:
        return ReplicaScans(address, problem=reason_of(error))


def _fault_of(conn: Connection, identity: Mapping[str, object]) -> str:
    """Return why what this server counts says nothing, empty where it does."""
    state = query(conn, "index_counting")[0]
    faults = (
        (
            query(conn, "database_identity")[0] != identity,
            "it is no physical replica of this database",
        ),
        (not state["is_standby"], "it is the primary or has become one"),
        (not state["counts"], "track_counts is off there"),
    )
    return next((words for holds, words in faults if holds), "")


def with_replica_scans(
    indexes: Sequence[IndexState], replicas: Sequence[ReplicaScans]
) -> tuple[IndexState, ...]:
    """Add the scans of all replicas that could be asked to those of the target."""
    added: Counter[int] = Counter()
    for replica in replicas:
        if not replica.problem:
            added.update(replica.scans)
    return tuple(
        replace(index, scans=index.scans + added[index.oid]) if added[index.oid] else index
        for index in indexes
    )
