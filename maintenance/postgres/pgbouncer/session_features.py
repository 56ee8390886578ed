"""What a site asks of its sessions that a pool in transaction mode cannot keep. Pure.

PgBouncer documentation, "Feature matrix for pooling modes": there each transaction may get another
session. The counters of pg_stat_statements show which of these statements a site sends.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from maintenance.postgres.queries.statement_counters import StatementCounters

#: Settings that PgBouncer itself carries from session to session (track_extra_parameters and its own).
_CARRIED = "client_encoding|datestyle|intervalstyle|time\\s*zone|timezone|standard_conforming_strings|application_name"

#: A feature, the statements that use it, and what becomes of it.
_FEATURES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "LISTEN",
        re.compile(r"\A\s*LISTEN\b", re.IGNORECASE),
        "notifications reach a session that nobody reads",
    ),
    (
        "session advisory locks",
        re.compile(r"\bpg_(?:try_)?advisory_(?:lock|unlock)(?:_shared)?\s*\(", re.IGNORECASE),
        "the lock stays with a session that other clients use, and unlocking happens in another one",
    ),
    (
        "PREPARE",
        re.compile(r"\A\s*(?:PREPARE\s+(?!TRANSACTION)|DEALLOCATE\b)", re.IGNORECASE),
        "EXECUTE meets a session that has never heard of the statement",
    ),
    (
        "cursors WITH HOLD",
        re.compile(r"\A\s*DECLARE\b.*\bWITH\s+HOLD\b", re.IGNORECASE | re.DOTALL),
        "the next FETCH meets a session without the cursor",
    ),
    (
        "session settings (SET)",
        re.compile(
            rf"\A\s*SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)(?:SESSION\s+)?(?!(?:{_CARRIED})\b)",
            re.IGNORECASE,
        ),
        "the setting stays with a session that other clients use",
    ),
    (
        "temporary tables",
        re.compile(
            r"\A\s*CREATE\s+(?:LOCAL\s+|GLOBAL\s+)?TEMP(?:ORARY)?\s+TABLE\b(?!.*ON\s+COMMIT\s+DROP)",
            re.IGNORECASE | re.DOTALL,
        ),
        "the table is gone for whoever made it, and there for whoever comes next",
    ),
)


@dataclass(frozen=True, slots=True)
class SessionFeature:
    """One feature that statements used; ``example`` is the text of the one that was called most."""

    name: str
    consequence: str
    calls: int
    example: str


def features_used(
    statements: Iterable[StatementCounters], users: Collection[str]
) -> Iterator[SessionFeature]:
    """Yield what the pooled ``users`` use; statements inside of functions are left out."""
    own = [s for s in statements if s.user_name in users and s.is_top_level and s.calls]
    for name, pattern, consequence in _FEATURES:
        found = [s for s in own if pattern.search(s.text)]
        if found:
            most = max(found, key=lambda s: s.calls)
            example = " ".join(most.text.split())[:200]
            yield SessionFeature(name, consequence, sum(s.calls for s in found), example)
