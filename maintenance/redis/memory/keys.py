"""What a sample of keys says: large ones, hot ones, and those that never expire. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent, seconds_in_words
from maintenance.redis.key_sample import (
    FEWEST_SAMPLED,
    MOST_KEYS,
    KeySample,
    SampledKey,
    ShapeShare,
    total_interval,
)
from maintenance.redis.key_shapes import OTHERS
from maintenance.redis_client.globs import matcher
from maintenance.redis_client.idle_times import IdleTimes
from maintenance.redis_client.server import ServerFacts

#: Rows of each table.
ROWS_SHOWN = 15
#: Below this share of a kind's keys, those without a time to live are a matter of chance.
WITHOUT_TTL_RATIO = 0.2
#: Kinds of keys that take less than this share of the memory are not worth a word.
WORTH_RATIO = 0.01
#: So much of the data that a sample cannot explain is more than what MEMORY USAGE leaves out.
UNSEEN_RATIO = 0.2
UNSEEN_MINIMUM_BYTES = 16 * 1024**2
#: Work of every month has come by in this time.
UNUSED_SECONDS = 31 * 86_400
#: An LFU counter of 100 stands for some thousand uses (redis.conf, lfu-log-factor 10).
HOT_FREQUENCY = 100


@dataclass(frozen=True, slots=True)
class KeyView:
    """A sample with its roll-up. Keys that match a glob of ``forever_patterns`` are meant to stay."""

    facts: ServerFacts
    sample: KeySample
    shares: Sequence[ShapeShare]
    forever_patterns: Sequence[str]
    idle_times: IdleTimes

    def shapes_that_stay(self) -> set[str]:
        """Return the shapes of sampled keys that are meant to stay."""
        is_meant_to_stay = matcher(self.forever_patterns)
        return {key.shape for key in self.sample.keys if is_meant_to_stay(key.name.encode())}


def diagnose_keys(
    name: str, roles: Sequence[str], view: KeyView, thresholds: Thresholds
) -> Iterator[Finding]:
    """Judge the sample; keys that never expire are a matter of caches."""
    facts, sample = view.facts, view.sample
    for rule in sorted(sample.denied):
        yield unavailable("redis-keys", f"{name} {rule}", *_DENIED[rule])
    if sample.denied_keys:
        yield unavailable(
            "redis-keys",
            name,
            f"what {counted(sample.denied_keys, 'sampled key')} are and take",
            "the ACL right to read every key (~*, or %R~* since Redis 7.0)",
        )
    yield from _big_keys(name, facts, sample, thresholds)
    yield from _unseen(name, view)
    if "cache" in roles:
        yield from _without_time_to_live(name, roles, view)
    yield from _unused(name, view)
    yield from _hot_keys(name, facts, sample)


_DENIED = {
    "+scan": ("which keys there are", "the ACL right +scan"),
    "+randomkey": ("which keys fill the memory", "the ACL right +randomkey"),
    "+type": ("the types of keys", "the ACL right +type"),
    "+ttl": ("which keys never expire", "the ACL right +ttl"),
    "+memory|usage": ("which keys are large", "the ACL right +memory|usage"),
    "+object|freq": ("which keys are hot", "the ACL right +object|freq"),
    "+object|idletime": ("which keys nobody uses", "the ACL right +object|idletime"),
}


def largest(sample: KeySample, count: int = ROWS_SHOWN) -> list[SampledKey]:
    """Return the largest keys of the sample, each once, though it may have been drawn twice."""
    known = {key.name: key for key in sample.measured}
    return sorted(known.values(), key=lambda key: -(key.size_bytes or 0))[:count]


def _big_keys(
    name: str, facts: ServerFacts, sample: KeySample, thresholds: Thresholds
) -> Iterator[Finding]:
    limit = thresholds.redis_big_key_bytes
    big = [key for key in largest(sample, len(sample.keys)) if (key.size_bytes or 0) > limit]
    if not big:
        return
    first = big[0]
    size = first.size_bytes or 0
    yield Finding(
        code="redis-big-keys",
        severity=Severity.WARNING,
        subject=name,
        sentence=(
            f"{counted(len(big), 'key')} of {len(sample.keys):,} looked at"
            f" {'takes' if len(big) == 1 else 'take'} more than {bytes_in_words(limit)}; the"
            f" largest, {first.name} ({first.type}), takes {bytes_in_words(size)},"
            f" {percent(size / facts.used_memory_bytes)} of the memory."
        ),
        evidence={
            "keys": len(big),
            "looked_at": len(sample.keys),
            "limit_bytes": limit,
            "largest_key": first.name,
            "largest_bytes": size,
            "chance_of_finding_one_ratio": sample.chance_of_a_key(),
        },
        advice=(
            "Give it a maximum length (a stream family) or divide it into several keys; remove it"
            " by UNLINK only, since DEL stops the server meanwhile."
            + ("" if sample.is_whole else " A sample misses most single keys: there may be more.")
        ),
    )


def _unseen(name: str, view: KeyView) -> Iterator[Finding]:
    """Say that large keys are missing from the sample, where it cannot explain the memory."""
    sample, dataset = view.sample, view.facts.dataset_bytes
    if sample.is_whole or len(sample.measured) < len(sample.keys) or not sample.keys:
        return
    sizes = [key.size_bytes or 0 for key in sample.keys]
    about, _, most = total_interval(sizes, len(sizes), sample.total_keys)
    if dataset - most < UNSEEN_RATIO * dataset or dataset < UNSEEN_MINIMUM_BYTES:
        return
    yield Finding(
        code="redis-unseen-keys",
        severity=Severity.INFO,
        subject=name,
        sentence=(
            f"The sample explains about {bytes_in_words(about)} of the {bytes_in_words(dataset)} of"
            f" data of {name}: a few large keys are likely missing from it."
        ),
        evidence={
            "explained_bytes": about,
            "explained_at_most_bytes": most,
            "dataset_bytes": dataset,
            "keys_looked_at": len(sample.keys),
        },
        advice=f"{_look_at_all(sample.total_keys)} The slow log often names them as well.",
    )


def _look_at_all(keys: int) -> str:
    if keys > MOST_KEYS:
        return "Look at every key once, at a quiet time: redis-cli --memkeys -i 0.01."
    return f"Look at every key once: check_redis_memory with sample_keys={keys}."


def _without_time_to_live(name: str, roles: Sequence[str], view: KeyView) -> Iterator[Finding]:
    """Name kinds of keys on a cache that stay until somebody removes them."""
    facts, sample = view.facts, view.sample
    forever = view.shapes_that_stay()
    found = [
        share
        for share in view.shares
        if share.shape not in forever
        and (share.without_ttl_ratio or 0.0) >= WITHOUT_TTL_RATIO
        and (share.size_bytes or 0.0) >= WORTH_RATIO * facts.used_memory_bytes
    ]
    if not found:
        return
    size = sum((share.size_bytes or 0.0) * (share.without_ttl_ratio or 0.0) for share in found)
    about = "" if sample.is_whole else "about "
    evicted = facts.maxmemory_policy.startswith("volatile-")
    yield Finding(
        code="redis-keys-without-ttl",
        severity=Severity.WARNING if tuple(roles) == ("cache",) else Severity.INFO,
        subject=name,
        sentence=(
            f"Keys of {counted(len(found), 'kind')} on {name} never expire and take"
            f" {about}{bytes_in_words(size)}: {listed([share.shape for share in found])}."
            + (f" {facts.maxmemory_policy} never evicts them either." if evicted else "")
        ),
        evidence={
            "kinds": [share.shape for share in found],
            "size_bytes": size,
            "keys_with_ttl": facts.keys_with_ttl,
            "keys": facts.keys,
        },
        advice=(
            "Give them a time-out where they are written. For those that are there, name their"
            " prefix under reclaim.time_outs of this target and run reclaim_redis_memory."
        ),
    )


def _unused(name: str, view: KeyView) -> Iterator[Finding]:
    """Name kinds of keys of which no sampled one has been used for a month."""
    forever = view.shapes_that_stay()
    found = [
        share
        for share in view.shares
        if (share.unused_seconds or 0) >= UNUSED_SECONDS
        and share.sampled_keys >= FEWEST_SAMPLED
        and share.shape not in {*forever, OTHERS}
        and (share.size_bytes or 0.0) >= WORTH_RATIO * view.facts.used_memory_bytes
    ]
    if not found:
        return
    if needs := view.idle_times.needs_for(UNUSED_SECONDS):
        kinds = listed([share.shape for share in found])
        yield unavailable(
            "redis-keys-unused", name, f"whether nobody uses {kinds} on {name}", needs
        )
        return
    size = sum(share.size_bytes or 0.0 for share in found)
    shortest = min(share.unused_seconds or 0 for share in found)
    yield Finding(
        code="redis-keys-unused",
        severity=Severity.INFO,
        subject=name,
        sentence=(
            f"Nobody has used any sampled key of {counted(len(found), 'kind')} on {name} for"
            f" {seconds_in_words(shortest)}; they take {bytes_in_words(size)}:"
            f" {listed([share.shape for share in found])}."
        ),
        evidence={
            "kinds": [share.shape for share in found],
            "size_bytes": size,
            "unused_seconds": shortest,
            "sampled_keys": sum(share.sampled_keys for share in found),
        },
        advice=(
            "If nothing writes them any more (an old prefix or version of a cache), name their prefix"
            " under reclaim.abandoned_prefixes of this target, look at a dry run of"
            " reclaim_redis_memory with the part abandoned, then run it."
        ),
    )


def _hot_keys(name: str, facts: ServerFacts, sample: KeySample) -> Iterator[Finding]:
    if not facts.is_lfu:
        what = f"which keys are hot, under {facts.maxmemory_policy},"
        needs = "a policy that counts uses: allkeys-lfu or volatile-lfu"
        yield unavailable("redis-hot-keys", name, what, needs)
        return
    hot = [key for key in hottest(sample) if (key.frequency or 0) >= HOT_FREQUENCY]
    if hot:
        yield Finding(
            code="redis-hot-keys",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"The most used of {len(sample.keys):,} keys looked at is {hot[0].name}"
                f" ({hot[0].type}), with a counter of {hot[0].frequency} of 255;"
                f" {counted(len(hot), 'key')} stand at {HOT_FREQUENCY} or more."
            ),
            evidence={"keys": [key.name for key in hot], "frequency": hot[0].frequency},
            advice="Keep a hot value in the process for a second, or spread it over several keys.",
        )


def hottest(sample: KeySample, count: int = ROWS_SHOWN) -> list[SampledKey]:
    """Return the keys of the sample with the highest counters, each once."""
    known = {key.name: key for key in sample.keys if key.frequency is not None}
    return sorted(known.values(), key=lambda key: -(key.frequency or 0))[:count]


def key_tables(sample: KeySample, shares: Sequence[ShapeShare]) -> Iterator[Table]:
    """Show the largest keys, the hottest ones, and the kinds of keys by what they take."""
    if sample.measured:
        yield Table.of("Largest keys looked at", [_key_row(key) for key in largest(sample)])
    if hot := hottest(sample):
        yield Table.of(
            "Most used keys looked at",
            [{"key": key.name, "type": key.type, "frequency": key.frequency} for key in hot],
        )
    if shares:
        title = "Memory by kind of key" + ("" if sample.is_whole else ", estimated from a sample")
        yield Table.of(title, [_share_row(s, whole=sample.is_whole) for s in shares[:ROWS_SHOWN]])


def _key_row(key: SampledKey) -> dict[str, Any]:
    return {
        "key": key.name,
        "type": key.type,
        "size_bytes": key.size_bytes,
        "ttl_seconds": key.ttl_seconds,
    }


def _share_row(share: ShapeShare, *, whole: bool) -> dict[str, Any]:
    band = (
        {}
        if whole
        else {"at_least_bytes": share.lowest_bytes, "at_most_bytes": share.highest_bytes}
    )
    return {
        "keys_like": share.shape,
        "keys": share.keys,
        "size_bytes": share.size_bytes,
        **band,
        "without_ttl_ratio": share.without_ttl_ratio,
        "unused_for_seconds": share.unused_seconds,
    }
