"""Tables that autovacuum should have taken care of, and those that it is kept away from. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.vacuum.autovacuum_rules import AutovacuumRules
from maintenance.postgres.vacuum.needs import Needs
from maintenance.postgres.vacuum.table_state import TableKind, TableState
from maintenance.postgres.vacuum.triggers import (
    Rule,
    Trigger,
    is_switched_off,
    options_of,
    parameters_of,
    triggers_of,
)

#: Findings of one kind that get a sentence of their own; the rest share one.
NAMED_TABLES = 20

#: Counters that are younger cannot tell a table that nobody cares for from one that was cared for
#: the day before: most sites have a daily rhythm.
TELLING_WINDOW_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One table with the rules that apply to it, and those that would bring autovacuum now.

    ``owner`` is the table of a TOAST table.
    """

    table: TableState
    owner: TableState | None
    triggers: tuple[Trigger, ...]
    due: tuple[Trigger, ...]
    is_switched_off: bool

    @property
    def subject(self) -> str:
        """What it is about, as an operator names it."""
        return f"{self.owner.qualified_name} (TOAST)" if self.owner else self.table.qualified_name

    @property
    def worst_ratio(self) -> float:
        """The largest multiple of a trigger, 0 where no rule applies."""
        return max((trigger.ratio for trigger in self.triggers), default=0.0)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else decides whether a due table is a fault.

    ``seen_overdue`` names what the last look found overdue already, as :func:`overdue_keys` writes
    it; ``at_work`` holds the oids of tables under VACUUM at this moment, and ``held_back`` those of
    tables that VACUUM came to in vain.
    """

    window: CounterWindow
    autovacuum_is_on: bool
    overdue_ratio: float
    seen_overdue: frozenset[str] = frozenset()
    at_work: frozenset[int] = frozenset()
    held_back: frozenset[int] = frozenset()


def upkeep_of(
    tables: Sequence[TableState], server_rules: AutovacuumRules, exclude_schemas: Sequence[str]
) -> tuple[Upkeep, ...]:
    """Apply autovacuum's rules to every table and TOAST table."""
    excluded = {*exclude_schemas, "information_schema"}
    owners = {t.toast_oid: t for t in tables if t.toast_oid and t.kind is not TableKind.TOAST}
    found = []
    for table in tables:
        owner = owners.get(table.oid) if table.kind is TableKind.TOAST else None
        if table.kind is TableKind.TOAST and owner is None:
            continue  # behind a temporary table, which only its session can vacuum
        if (owner or table).schema in excluded:
            continue
        parameters = parameters_of(table, owner)
        triggers = triggers_of(table, server_rules, parameters)
        due = tuple(trigger for trigger in triggers if trigger.is_due)
        found.append(Upkeep(table, owner, triggers, due, is_switched_off(parameters)))
    return tuple(found)


def overdue(upkeep: Iterable[Upkeep], circumstances: Circumstances) -> list[Upkeep]:
    """Return the tables that are past a trigger by so much that nobody seems to come, worst first."""
    cared_for = circumstances.at_work | circumstances.held_back
    past = [
        u
        for u in upkeep
        if not u.is_switched_off
        and u.table.oid not in cared_for
        and any(t.ratio >= circumstances.overdue_ratio for t in u.due)
    ]
    return sorted(past, key=lambda u: (-u.worst_ratio, u.subject))


def overdue_keys(late: Iterable[Upkeep]) -> list[str]:
    """Return what the next look needs to tell a table that stays overdue."""
    return [str(u.table.oid) for u in late]


def diagnose_overdue(late: Sequence[Upkeep], circumstances: Circumstances) -> Iterator[Finding]:
    """Name the tables that are overdue.

    A table is past its trigger as a matter of course until the next worker comes: only one that
    was overdue at the last look as well is a warning.
    """
    for upkeep in late[:NAMED_TABLES]:
        stays = str(upkeep.table.oid) in circumstances.seen_overdue
        due = [t for t in upkeep.due if t.ratio >= circumstances.overdue_ratio]
        again = "; the last look found it overdue as well" if stays else ""
        yield Finding(
            code="vacuum-overdue",
            severity=Severity.WARNING
            if stays or not circumstances.autovacuum_is_on
            else Severity.INFO,
            subject=upkeep.subject,
            sentence=(
                f"{upkeep.subject} has {'; '.join(t.in_words for t in due)};"
                f" {_history(upkeep, due, circumstances.window)}{again}."
            ),
            evidence=_evidence(upkeep, circumstances.window),
            advice=(
                "If it stays so: look for what keeps autovacuum from it (a lock, workers that are"
                " all busy, an old transaction), or run the command."
            ),
            commands=_commands(upkeep, due),
        )
    rest = late[NAMED_TABLES:]
    if rest:
        yield _rest("vacuum-overdue", "are overdue for VACUUM or ANALYZE as well", rest)


def diagnose_switched_off(
    tables: Iterable[Upkeep], circumstances: Circumstances
) -> Iterator[Finding]:
    """Name the tables that keep autovacuum away, those that need it most first."""
    off = sorted(
        (u for u in tables if u.is_switched_off),
        key=lambda u: (-u.worst_ratio, -u.table.pages, u.subject),
    )
    # What the table of a TOAST table says is said once.
    own = [u for u in off if u.owner is None or not is_switched_off(u.owner.storage_parameters)]
    behind = {
        u.owner.oid: u
        for u in off
        if u.owner is not None and is_switched_off(u.table.storage_parameters)
    }
    for upkeep in own[:NAMED_TABLES]:
        due = upkeep.due
        state = (
            f"it has {'; '.join(t.in_words for t in due)};"
            f" {_history(upkeep, due, circumstances.window)}"
            if due
            else "nothing is due there yet"
        )
        yield Finding(
            code="autovacuum-disabled",
            severity=Severity.WARNING,
            subject=upkeep.subject,
            sentence=(
                f"Autovacuum is switched off for {upkeep.subject}, where it would come only against"
                f" wraparound: {state}."
            ),
            evidence=_evidence(upkeep, circumstances.window),
            advice="Switch it on again, unless a job of yours vacuums and analyzes this table.",
            **_switching_on(upkeep, behind.get(upkeep.table.oid)),
        )
    rest = own[NAMED_TABLES:]
    if rest:
        yield _rest("autovacuum-disabled", "have autovacuum switched off as well", rest)


def _switching_on(upkeep: Upkeep, toast: Upkeep | None) -> dict[str, Any]:
    """Return the command and its undo; the switch of a TOAST table is set through its table."""
    table = upkeep.owner or upkeep.table
    kind = "MATERIALIZED VIEW" if table.kind is TableKind.MATERIALIZED_VIEW else "TABLE"
    switches = [_switch(upkeep), *([_switch(toast)] if toast else [])]
    names = ", ".join(name for name, _ in switches)
    values = ", ".join(f"{name} = {value}" for name, value in switches)
    return {
        "commands": (f"ALTER {kind} {table.qualified_name} RESET ({names});",),
        "undo": (f"ALTER {kind} {table.qualified_name} SET ({values});",),
    }


def _switch(upkeep: Upkeep) -> tuple[str, str]:
    name = "toast.autovacuum_enabled" if upkeep.owner else "autovacuum_enabled"
    return name, options_of(upkeep.table.storage_parameters)["autovacuum_enabled"]


def diagnose_partitioned(
    tables: Iterable[TableState], needs: Mapping[int, Needs]
) -> Iterator[Finding]:
    """Name partitioned tables whose own statistics are stale: autovacuum never renews them."""
    stale = sorted(
        (t for t in tables if t.kind is TableKind.PARTITIONED and needs[t.oid].analyze),
        key=lambda t: (t.last_analyze_at is not None, t.qualified_name),
    )
    for table in stale[:NAMED_TABLES]:
        yield Finding(
            code="partitioned-table-statistics",
            severity=Severity.INFO if table.has_statistics else Severity.WARNING,
            subject=table.qualified_name,
            sentence=(
                f"The statistics of the partitioned table {table.qualified_name} need ANALYZE:"
                f" {needs[table.oid].in_words}."
            ),
            evidence={"was_analyzed": table.has_statistics},
            advice="Analyze it after each larger change of its partitions; vacuum_analyze does so.",
            commands=(f"ANALYZE {table.qualified_name};",),
        )
    if len(stale) > NAMED_TABLES:
        names = [t.qualified_name for t in stale[NAMED_TABLES:]]
        yield Finding(
            code="partitioned-table-statistics",
            severity=Severity.INFO,
            subject="other tables",
            sentence=(
                f"{counted(len(names), 'other partitioned table')} need ANALYZE as well:"
                f" {listed(names)}."
            ),
            advice="vacuum_analyze does them all.",
        )


def _history(upkeep: Upkeep, due: Sequence[Trigger], window: CounterWindow) -> str:
    table = upkeep.table
    by_analyze = all(t.rule is Rule.CHANGED_ROWS for t in due)
    last = table.last_analyze_at if by_analyze else table.last_vacuum_at
    word = "analyzed" if by_analyze else "vacuumed"
    if last is None:
        return f"it was not {word} in {window.in_words}"
    return f"it was last {word} {seconds_in_words(max(0.0, window.measured_at - last))} ago"


def _evidence(upkeep: Upkeep, window: CounterWindow) -> dict[str, Any]:
    table = upkeep.table
    evidence: dict[str, Any] = {
        "live_rows": table.live_rows,
        "last_vacuum_seconds_ago": _seconds_ago(table.last_vacuum_at, window),
        "last_analyze_seconds_ago": _seconds_ago(table.last_analyze_at, window),
    }
    for trigger in upkeep.triggers:
        name = trigger.rule.value.replace(" ", "_")
        evidence[name] = trigger.rows
        evidence[f"{name}_due_above"] = trigger.due_above
    return evidence


def _seconds_ago(moment: float | None, window: CounterWindow) -> float | None:
    return None if moment is None else max(0.0, window.measured_at - moment)


def _commands(upkeep: Upkeep, due: Sequence[Trigger]) -> tuple[str, ...]:
    statements = {t.rule.statement for t in due}
    name = (upkeep.owner or upkeep.table).qualified_name
    if statements == {"ANALYZE"}:
        return (f"ANALYZE {name};",)
    options = "TRUNCATE FALSE, ANALYZE" if "ANALYZE" in statements else "TRUNCATE FALSE"
    return (f"VACUUM ({options}) {name};",)


def _rest(code: str, what: str, rest: Sequence[Upkeep]) -> Finding:
    names = [u.subject for u in rest]
    return Finding(
        code=code,
        severity=Severity.INFO,
        subject="other tables",
        sentence=f"{counted(len(rest), 'other table')} {what}: {listed(names)}.",
        evidence={"tables": names[:1000]},
        advice="The evidence names them; vacuum_analyze takes up what is due.",
    )
