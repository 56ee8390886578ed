"""What reports say of wraparound: ages beside their limits, rates, and what is kept of them over time."""

from typing import Any

from maintenance.core.reports import Sample, Table
from maintenance.core.wording import counted, percent
from maintenance.postgres.vacuum.id_forecast import (
    dates_in_words,
    forecast_needs,
    looks_to_state,
    rate_of,
)
from maintenance.postgres.vacuum.wraparound import (
    KINDS,
    MEMBERS_PER_SEGMENT,
    WRAPAROUND_IDS,
    DatabaseAge,
    WraparoundState,
    remaining_ids,
)


def wraparound_table(state: WraparoundState) -> Table:
    """Return a row for each database: its ages beside the limits and the dates they lead to."""
    rows = []
    for database in state.databases:
        row: dict[str, Any] = {"database": database.name}
        for kind in KINDS:
            row[f"{kind.noun}_age"] = kind.age(database)
            row[f"{kind.noun}_limit_ratio"] = kind.age(database) / WRAPAROUND_IDS
        rows.append({**row, "soonest_end": _soonest_end(database, state)})
    return Table.of("Age by database", rows)


def _soonest_end(database: DatabaseAge, state: WraparoundState) -> str:
    """Return the first date that either kind could run out on, if nothing is frozen meanwhile."""
    rates = {kind: rate_of(state.looks, kind.counter) for kind in KINDS}
    ends = [
        rate.seconds_left(remaining_ids(kind.age(database)))[0]
        for kind, rate in rates.items()
        if rate is not None
    ]
    if not ends:
        return "withheld"
    return dates_in_words(min((e for e in ends if e is not None), default=None), None, state.now)


def wraparound_facts(state: WraparoundState) -> dict[str, Any]:
    """Return the limits, the rates, and why a rate is withheld."""
    facts: dict[str, Any] = {}
    for kind in KINDS:
        rate = rate_of(state.looks, kind.counter)
        facts[f"{kind.noun}_freeze_max_age"] = kind.due_age(state.settings)
        facts[f"{kind.noun}_failsafe_age"] = kind.failsafe_age(state.settings)
        facts[f"{kind.noun}_ids_per_day"] = (
            round(rate.mean * 86_400) if rate else f"withheld: needs {forecast_needs(state.looks)}"
        )
    if state.member_segments is not None:
        facts["multixact_members_used_ratio"] = state.member_segments * MEMBERS_PER_SEGMENT / 2**32
    return facts


def wraparound_samples(state: WraparoundState) -> tuple[Sample, ...]:
    """Return the age of this database over time."""
    here = [d for d in state.databases if d.is_here]
    return tuple(
        sample
        for d in here
        for sample in (
            Sample("oldest_transaction_age", d.xid_age),
            Sample("oldest_multixact_age", d.multixact_age),
        )
    )


def wraparound_clause(state: WraparoundState) -> str:
    """Say the age in half a sentence."""
    databases = counted(len(state.databases), "database")
    return (
        f"the oldest row of {databases} is at {percent(state.oldest_ratio)} of the wraparound limit"
    )


def wraparound_state(state: WraparoundState) -> dict[str, Any]:
    """Return what the next run needs."""
    return looks_to_state(state.looks, state.system_identifier)
