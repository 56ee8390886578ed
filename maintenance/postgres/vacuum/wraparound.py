"""Transaction ID and multixact wraparound: how near, how fast, and who keeps VACUUM from freezing.

Sources: PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures" and "Multixacts
and Wraparound"; the limits at which the server warns and stops are those of ``SetTransactionIdLimit``
and ``SetMultiXactIdLimit``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, listed, percent
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.sql_files import query
from maintenance.postgres.vacuum.id_forecast import (
    IdRate,
    Look,
    dates_in_words,
    forecast_needs,
    looks_from_state,
    rate_of,
    with_look,
)
from maintenance.postgres.vacuum.table_state import TableKind, TableState

#: IDs lie on a circle of 2^32; a row older than half of it would lie in the future.
WRAPAROUND_IDS = 2**31

#: The server refuses new transactions that close to the limit (PostgreSQL 14 and later).
REFUSED_BEFORE_LIMIT = 3_000_000

#: Autovacuum starts on a table at the maximum age and takes its time; a fifth past it nobody came.
BEHIND_RATIO = 1.2

#: Members of multixacts in one segment file of 32 pages: 409 groups of 4 on each page of 8 kB.
MEMBERS_PER_SEGMENT = 32 * 409 * 4

#: Half of all 2^32 members: the server begins to freeze multixacts earlier
#: (MULTIXACT_MEMBER_SAFE_THRESHOLD); from three quarters on it freezes all it can.
MEMBERS_WARNING_RATIO = 0.5
MEMBERS_CRITICAL_RATIO = 0.75

#: The tables named with a database that is behind.
TABLES_NAMED = 5


@dataclass(frozen=True, slots=True)
class DatabaseAge:
    """The age of one database's oldest unfrozen transaction and multixact."""

    name: str
    is_here: bool
    xid_age: int
    multixact_age: int


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What VACUUM cannot freeze beyond, besides open transactions."""

    kind: str
    name: str
    xid_age: int


@dataclass(frozen=True, slots=True)
class WraparoundState:
    """What the diagnosis rests on. Ages count IDs; ``member_segments`` is None where hidden."""

    databases: tuple[DatabaseAge, ...]
    tables: tuple[TableState, ...]
    holders: tuple[XminHolder, ...]
    obstacles: tuple[Obstacle, ...]
    settings: Mapping[str, str]
    looks: tuple[Look, ...]
    system_identifier: str
    member_segments: int | None
    at_work: frozenset[int]

    @property
    def now(self) -> float:
        """Seconds since the epoch by the server's clock."""
        return self.looks[-1].taken_at

    @property
    def is_behind(self) -> bool:
        """Whether any database is older than autovacuum should let it become."""
        return any(_is_behind(k, d, self.settings) for k in KINDS for d in self.databases)

    @property
    def oldest_ratio(self) -> float:
        """The greatest age of any database, of either kind, as a share of the limit."""
        ages = [max(d.xid_age, d.multixact_age) for d in self.databases]
        return max(ages, default=0) / WRAPAROUND_IDS


@dataclass(frozen=True, slots=True)
class IdKind:
    """Transaction IDs or multixacts: the same arithmetic under two sets of names."""

    code: str
    noun: str
    age_field: str
    counter: str
    freeze_setting: str
    failsafe_setting: str

    def age(self, of: DatabaseAge | TableState) -> int:
        """The age of this kind; 0 for a relation without one."""
        return int(getattr(of, self.age_field) or 0)

    def due_age(self, settings: Mapping[str, str]) -> int:
        """Where autovacuum comes, even if it is switched off."""
        return int(settings[self.freeze_setting])

    def failsafe_age(self, settings: Mapping[str, str]) -> int:
        """Where VACUUM drops everything but freezing: at least 105 % of the age above."""
        return max(int(settings[self.failsafe_setting]), int(self.due_age(settings) * 1.05))


XID = IdKind(
    "xid-wraparound",
    "transaction",
    "xid_age",
    "next_xid",
    "autovacuum_freeze_max_age",
    "vacuum_failsafe_age",
)
MULTIXACT = IdKind(
    "multixact-wraparound",
    "multixact",
    "multixact_age",
    "next_multixact",
    "autovacuum_multixact_freeze_max_age",
    "vacuum_multixact_failsafe_age",
)
KINDS = (XID, MULTIXACT)


def measure_looks(conn: Connection, previous_state: Mapping[str, Any]) -> tuple[Look, ...]:
    """Read how far the server has come, behind the looks in ``previous_state``."""
    return _looks(query(conn, "id_consumption")[0], previous_state)


def _looks(row: Mapping[str, Any], previous_state: Mapping[str, Any]) -> tuple[Look, ...]:
    before = looks_from_state(previous_state, row["system_identifier"])
    return with_look(before, Look(row["taken_at"], row["next_xid"], row["next_multixact"]))


def measure_wraparound(
    conn: Connection,
    tables: Sequence[TableState],
    holders: Sequence[XminHolder],
    settings: Mapping[str, str],
    *,
    previous_state: Mapping[str, Any],
    at_work: frozenset[int],
) -> WraparoundState:
    """Read the ages, and how far the server has come since the looks in ``previous_state``."""
    row = query(conn, "id_consumption")[0]
    segments = query(conn, "multixact_members")[0]["segments"] if row["may_list_members"] else None
    return WraparoundState(
        databases=tuple(DatabaseAge(**r) for r in query(conn, "database_ages")),
        tables=tuple(tables),
        holders=tuple(holders),
        obstacles=tuple(Obstacle(**r) for r in query(conn, "freeze_obstacles")),
        settings=settings,
        looks=_looks(row, previous_state),
        system_identifier=row["system_identifier"],
        member_segments=segments,
        at_work=at_work,
    )


def diagnose_wraparound(state: WraparoundState) -> Iterator[Finding]:
    """Name each database that autovacuum does not keep young, with the cause where it shows."""
    for kind in KINDS:
        behind = [d for d in state.databases if _is_behind(kind, d, state.settings)]
        here = [d for d in behind if d.is_here]
        elsewhere = [d for d in behind if not d.is_here]
        yield from (_behind(kind, database, state) for database in here)
        if elsewhere:
            yield _behind_elsewhere(kind, elsewhere, state)
        if behind and rate_of(state.looks, kind.counter) is None:
            withheld = unavailable(
                f"{kind.code}-forecast",
                f"{kind.noun} IDs",
                f"the date when {kind.noun} IDs would run out",
                forecast_needs(state.looks),
            )
            yield replace(withheld, advice="Each run of review_vacuum_health is one look.")
    yield from _members(state)


def _is_behind(kind: IdKind, database: DatabaseAge, settings: Mapping[str, str]) -> bool:
    age = kind.age(database)
    return age > kind.due_age(settings) * BEHIND_RATIO or age >= kind.failsafe_age(settings)


def _behind(kind: IdKind, database: DatabaseAge, state: WraparoundState) -> Finding:
    age, due = kind.age(database), kind.due_age(state.settings)
    failsafe = kind.failsafe_age(state.settings)
    rate = rate_of(state.looks, kind.counter)
    forecast, dates = _forecast(rate, remaining_ids(age), state.now)
    cause = _cause(kind, state)
    return Finding(
        code=kind.code,
        severity=Severity.CRITICAL if age >= failsafe else Severity.WARNING,
        subject=database.name,
        sentence=(
            f'The oldest row of database "{database.name}" is {age:,} {kind.noun}s old,'
            f" {percent(age / WRAPAROUND_IDS)} of the way to wraparound, where the server refuses"
            f" every write; autovacuum should have frozen it at {due:,}. {cause.sentence}{forecast}"
        ),
        evidence={
            "age": age,
            "freeze_max_age": due,
            "failsafe_age": failsafe,
            "wraparound_ratio": age / WRAPAROUND_IDS,
            **dates,
        },
        advice=cause.advice,
        commands=cause.commands,
    )


def _behind_elsewhere(
    kind: IdKind, databases: Sequence[DatabaseAge], state: WraparoundState
) -> Finding:
    """Name other databases of the server, whose causes show only from inside them."""
    oldest = max(kind.age(database) for database in databases)
    names = [f'"{database.name}"' for database in databases]
    critical = oldest >= kind.failsafe_age(state.settings)
    return Finding(
        code=kind.code,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject="other databases",
        sentence=(
            f"{counted(len(names), 'other database')} of this server"
            f" {'is' if len(names) == 1 else 'are'} up to {oldest:,} {kind.noun}s old,"
            f" {percent(oldest / WRAPAROUND_IDS)} of the way to wraparound: {listed(names)}. The"
            " cause shows only from inside each of them."
        ),
        evidence={
            "oldest_age": oldest,
            "freeze_max_age": kind.due_age(state.settings),
            "databases": [database.name for database in databases],
        },
        advice=(
            "Make them targets, too, or look there for old transactions and run VACUUM (FREEZE);"
            " one that takes no connections is left to autovacuum."
        ),
    )


def remaining_ids(age: int) -> int:
    """Return how many IDs are left until the server refuses new transactions."""
    return WRAPAROUND_IDS - REFUSED_BEFORE_LIMIT - age


def _forecast(
    rate: IdRate | None, remaining: float, now: float
) -> tuple[str, dict[str, float | None]]:
    if rate is None:
        return "", {}
    soonest, latest = rate.seconds_left(remaining)
    sentence = (
        f" If nothing is frozen, the end comes {dates_in_words(soonest, latest, now)}"
        f" (IDs used: {rate.in_words})."
    )
    return sentence, {
        "ids_per_day": rate.mean * 86_400,
        "soonest_seconds": soonest,
        "latest_seconds": latest,
    }


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a database is old, and what to do about it."""

    sentence: str
    advice: str
    commands: tuple[str, ...] = ()


def _cause(kind: IdKind, state: WraparoundState) -> _Cause:
    """Say what keeps this database old, as far as it shows."""
    held = _held_back(kind, state)
    if held is not None:
        return held
    oldest = _oldest_tables(kind, state)
    names = listed([t.qualified_name for t in oldest])
    if any(t.oid in state.at_work for t in oldest):
        return _Cause(
            f"VACUUM is at work on it; the oldest tables are {names}.",
            "Let it end, and keep others from locking its table.",
        )
    return _Cause(
        f"Nothing is seen to hold it back; the oldest tables are {names}.",
        "Run the commands, then find out why autovacuum does not get there: too few workers, a"
        " cost limit too low, or locks that cancel it.",
        tuple(f"VACUUM (FREEZE, TRUNCATE FALSE) {t.qualified_name};" for t in oldest),
    )


def _held_back(kind: IdKind, state: WraparoundState) -> _Cause | None:
    """Return what no VACUUM can freeze beyond; the horizons shown are those of transactions."""
    if kind is not XID:
        return None
    due = kind.due_age(state.settings)
    # Younger ones are no cause: a VACUUM would bring the age down to theirs, which is not due.
    for holder in state.holders:
        if holder.xid_age > due:
            shared = (
                ", which keeps the catalogs that all databases share from being frozen"
                if holder.elsewhere
                else ""
            )
            return _Cause(f"It is held back by {holder.in_words}{shared}.", holder.remedy)
    for obstacle in state.obstacles:
        if obstacle.xid_age > due:
            return _OBSTACLES[obstacle.kind](obstacle.name)
    return None


_OBSTACLES: Mapping[str, Callable[[str], _Cause]] = {
    "temporary table": lambda name: _Cause(
        f"It is held back by the temporary table {name}, which only its own session can vacuum.",
        "End the session that created it; the table goes with it.",
    ),
    "replication slot": lambda name: _Cause(
        f'It is held back by the replication slot "{name}", which keeps old rows of the catalogs.',
        "Bring its consumer back, or drop the slot if nobody needs it.",
    ),
}


def _oldest_tables(kind: IdKind, state: WraparoundState) -> list[TableState]:
    """Return the oldest tables, or those of the oldest TOAST tables, the largest first of one age."""
    owners = {t.toast_oid: t for t in state.tables if t.toast_oid}
    aged = [t for t in state.tables if t.kind is not TableKind.PARTITIONED]
    aged.sort(key=lambda t: (-kind.age(t), -t.pages, t.qualified_name))
    return list(dict.fromkeys(owners.get(t.oid, t) for t in aged[: 2 * TABLES_NAMED]))[
        :TABLES_NAMED
    ]


def _members(state: WraparoundState) -> Iterator[Finding]:
    if state.member_segments is None:
        return
    ratio = state.member_segments * MEMBERS_PER_SEGMENT / 2**32
    if ratio < MEMBERS_WARNING_RATIO:
        return
    critical = ratio >= MEMBERS_CRITICAL_RATIO
    yield Finding(
        code="multixact-members",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject="multixact members",
        sentence=(
            f"About {percent(ratio)} of the room for members of multixacts is used; when it is"
            " full, rows can no longer be locked by several transactions at once."
        ),
        evidence={"used_ratio": ratio, "segments": state.member_segments},
        advice=(
            "Vacuum the tables with the oldest multixacts, and look for long transactions that lock"
            " many rows (SELECT ... FOR SHARE, foreign keys)."
        ),
    )
