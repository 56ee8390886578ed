"""A flush that knows what it flushes: every value of one cache, and nothing else.

FLUSHDB empties the database, and what shares it goes too: sessions, streams, the broker's queues.
Here every key of the database is looked at first. The flush is refused if one of them is not the
cache's, or if sessions lie in the cache; then the cache's own prefix is removed as any other one.
Off unless the target's ``allow`` names it, and never scheduled.
"""

from collections import Counter
from dataclasses import dataclass, field

import redis

from maintenance.caching.backend import opened, paced, reason_to_refuse
from maintenance.caching.key_prefixes import OTHER, prefix_of
from maintenance.caching.patterns import NEEDS_ACL, SESSION_KEYS, PatternTally, drop_pattern
from maintenance.conf import CacheTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Job, Progress
from maintenance.core.options import DryRunOption
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted, listed
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.packed import exchange, pack, raise_first_error

KEYS_PER_PAGE = 500
#: Kinds of keys that are told apart; more are counted together.
MAX_KINDS = 50
#: What this package itself keeps in a cache (counts of lookups, warmers that are due): no value, and
#: nothing of the site's.
OWN_KEYS = b"maintenance-"


@dataclass(slots=True)
class Inventory:
    """What a database holds beside and inside of a cache whose keys begin with ``head``.

    ``foreign`` counts keys by their kind, ``examples`` has one of each.
    """

    head: bytes
    own_keys: int = 0
    session_keys: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, key: bytes, *, is_string: bool) -> None:
        """Count one key."""
        rest = key.removeprefix(self.head)
        is_inside = key.startswith(self.head)
        if is_inside and (is_string or rest.startswith(OWN_KEYS)):
            self.own_keys += is_string
            self.session_keys += rest.startswith(SESSION_KEYS.encode())
            return
        text = describe_key(key[:200])
        kind = prefix_of(text.removeprefix(describe_key(self.head))) if is_inside else kind_of(text)
        if kind not in self.foreign and len(self.foreign) >= MAX_KINDS:
            kind = OTHER
        self.foreign[kind] += 1
        self.examples.setdefault(kind, text)

    @property
    def reasons_to_refuse(self) -> list[str]:
        """Say why a flush would harm; empty where nothing but cached values would go."""
        found: list[str] = []
        if not self.head:
            found.append("the cache's keys have no prefix, so nobody can tell them from others")
        if self.foreign:
            kinds = [f"{kind} ({count:,})" for kind, count in self.foreign.most_common()]
            found.append(
                f"{counted(self.foreign.total(), 'key')} of its database"
                f" {'is' if self.foreign.total() == 1 else 'are'} not the cache's: {listed(kinds)}"
            )
        if self.session_keys:
            found.append(
                f"{counted(self.session_keys, 'session')} would go, and log their users out"
            )
        return found


def kind_of(text: str) -> str:
    """Return the kind of a key that is not the cache's: what stands before its values."""
    if text.startswith(("_kombu.", "unacked", "celery")):
        return "queues of Celery"
    return prefix_of(text)


def flush_cache(job: Job[CacheTarget, DryRunOption]) -> Report:
    """Remove every value of the target's cache, in its prefix and version; see the module.

    Raises :class:`TargetUnavailable` and :class:`MissingRights`. Cost: two walks over the keys of
    the database, in pages.
    """
    with (
        opened(job.target_name, job.target) as cache,
        paced(cache, job.progress, job.target.added_latency_ms) as (progress, with_its_latency),
    ):
        stored = cache.stored_pattern("*")
        if cache.client is None or stored is None:
            return _unlistable(job.target_name)
        head = cache.stored_head
        refusal = reason_to_refuse(cache)
        inventory = Inventory(head) if refusal else take_inventory(cache.client, head, progress)
        reasons = [refusal] if refusal else inventory.reasons_to_refuse
        tally = PatternTally("*", stored)
        if not reasons and not job.options.dry_run:
            drop_pattern(cache.client, tally, progress)
    return with_its_latency(
        build_report(job.target_name, inventory, reasons, tally, dry_run=job.options.dry_run)
    )


def take_inventory(client: redis.Redis, head: bytes, progress: Progress) -> Inventory:
    """Look at every key of the database, a page at a time."""
    inventory = Inventory(head)
    cursor, seen = b"0", 0
    with exchange(client) as wire:
        while True:
            scan = (b"SCAN", cursor, b"COUNT", b"%d" % KEYS_PER_PAGE)
            replies = wire.run([pack(*scan, b"TYPE", b"string"), pack(*scan)])
            raise_first_error(replies)
            (cursor, strings), (_, all_keys) = replies
            for key in dict.fromkeys(strings):
                inventory.add(key, is_string=True)
            for key in set(all_keys).difference(strings):
                inventory.add(key, is_string=False)
            seen += len(all_keys)
            progress.update(seen, phase="looking at every key", unit="keys")
            if cursor == b"0":
                return inventory


def _unlistable(name: str) -> Report:
    needs = "a cache in Redis whose KEY_FUNCTION keeps the key's text"
    return Report(
        title=f"Flush of {name}",
        summary=f"Nothing was removed: the keys of {name} cannot be listed.",
        findings=(unavailable("cache-flush", name, "telling the cache's keys from others", needs),),
    )


def build_report(
    name: str, inventory: Inventory, reasons: list[str], tally: PatternTally, *, dry_run: bool
) -> Report:
    """Say what was removed, or why nothing was."""
    action = Action(
        kind="flush",
        subject=name,
        statement=f"SCAN MATCH {tally.stored} TYPE string; UNLINK <keys>",
        reason="every value of the cache",
        predicted={"keys": inventory.own_keys},
    )
    outcome = _outcome(action, inventory, reasons, tally, dry_run=dry_run)
    findings = (_refused(name, inventory, reasons),) if reasons else ()
    kinds = [
        {"kind": kind, "keys": count, "example": inventory.examples[kind]}
        for kind, count in inventory.foreign.most_common()
    ]
    return Report(
        title=f"Flush of {name}",
        summary=outcome.sentence,
        findings=findings,
        outcomes=(outcome,),
        tables=(Table.of("Keys that are not the cache's", kinds),) if kinds else (),
        facts={"dry_run": dry_run, "needs_acl": ["+ping", "+info", *NEEDS_ACL]},
    )


def _outcome(
    action: Action,
    inventory: Inventory,
    reasons: list[str],
    tally: PatternTally,
    *,
    dry_run: bool,
) -> Outcome:
    if reasons:
        return Outcome(action, Verdict.REFUSED, f"Nothing was removed: {'; '.join(reasons)}.")
    values = counted(inventory.own_keys, "value")
    if dry_run:
        return Outcome(action, Verdict.PLANNED, f"{values} would be removed (dry run).")
    again = tally.written_again_keys
    return Outcome(
        action,
        Verdict.WORKED if tally.removed_keys else Verdict.NO_GAIN,
        f"{counted(tally.removed_keys, 'value')} removed and verified gone"
        + (f", except {again:,} that were written again at once." if again else "."),
        before={"keys": inventory.own_keys},
        after={"keys": again, "freed_bytes": tally.chosen_bytes},
    )


def _refused(name: str, inventory: Inventory, reasons: list[str]) -> Finding:
    return Finding(
        code="cache-flush-refused",
        severity=Severity.WARNING,
        subject=name,
        sentence=f"The flush of {name} is refused: {'; '.join(reasons)}.",
        evidence={
            "own_keys": inventory.own_keys,
            "session_keys": inventory.session_keys,
            "foreign_keys": inventory.foreign.total(),
            "examples": list(inventory.examples.values()),
        },
        advice=(
            "Drop what is stale by an invalidation rule instead, and give the cache a database of"
            " its own: what shares it is lost with a flush, and evicted with the cache's values."
        ),
    )
