"""Invalidation: cached values that the configured rules call stale are dropped, by key, by prefix,
by glob pattern, or as groups by tag or namespace. Never by KEYS, and never by a flush."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from maintenance.caching.backend import OpenCache, opened, paced, reason_to_refuse
from maintenance.caching.groups import Stale
from maintenance.caching.invalidation_report import RuleResult, build_report
from maintenance.caching.namespaces import Namespace
from maintenance.caching.options import InvalidateOptions
from maintenance.caching.patterns import (
    SESSION_KEYS,
    PatternTally,
    drop_pattern,
    refuse_flush,
)
from maintenance.caching.stored_values import stored_values
from maintenance.caching.tags import Tag, invalidate_tag
from maintenance.caching.warm_after import warm_after
from maintenance.conf import CacheTarget, InvalidationRule
from maintenance.core.job import Job, Progress, SilentProgress
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known
from maintenance.redis_client.globs import escape_glob, literal_beginning
from maintenance.redis_client.idle_times import IdleTimes
from maintenance.redis_client.server import server_facts

KEYS_PER_DELETE = 500


def invalidate_caches(job: Job[CacheTarget, InvalidateOptions]) -> Report:
    """Apply the target's invalidation rules; with ``dry_run`` only count what they match.

    Raises :class:`UnknownName` for a rule that is not configured, and :class:`TargetUnavailable`
    or :class:`MissingRights` for the cache's server.
    """
    for name in job.options.rules:
        require_known(f"invalidation rule of cache {job.target_name}", name, job.target.invalidate)
    rules: Mapping[str, InvalidationRule] = {
        name: rule
        for name, rule in job.target.invalidate.items()
        if not job.options.rules or name in job.options.rules
    }
    if not rules:
        return build_report(job.target_name, job.options.dry_run, [])
    with (
        opened(job.target_name, job.target) as cache,
        paced(cache, job.progress, job.target.added_latency_ms) as (progress, with_its_latency),
    ):
        refusal = reason_to_refuse(cache)
        idle_times = _idle_times(cache, job.previous_state)
        results = [
            _apply(
                cache,
                RuleResult(name, rule, refusal),
                writes=not job.options.dry_run and not refusal,
                progress=progress,
                idle_times=idle_times,
            )
            for name, rule in rules.items()
        ]
        warmed = _ask_to_warm(cache, results)
    report = build_report(job.target_name, job.options.dry_run, results, warmed)
    return with_its_latency(replace(report, state=idle_times.state if idle_times else {}))


def _idle_times(cache: OpenCache, previous_state: Mapping[str, Any]) -> IdleTimes | None:
    """Return what is known of the server's idle times; every run notes it, whatever its rules ask."""
    if cache.client is None:
        return None
    return IdleTimes.seen(server_facts(cache.client), previous_state, time.time())


def _ask_to_warm(cache: OpenCache, results: Sequence[RuleResult]) -> tuple[str, ...]:
    """Have the warmers of what was dropped run next; return their names.

    What else groups cover is not known, and waits for its reader.
    """
    stale: list[Stale] = [
        key for result in results if result.keys_dropped for key in result.rule.keys
    ]
    stale += [
        Tag(name) if kind == "tag" else Namespace(name)
        for result in results
        for (kind, name), is_gone in result.groups.items()
        if is_gone
    ]
    beginnings = {
        literal_beginning(tally.pattern)
        for result in results
        for tally in result.patterns
        if tally.removed_keys
    }
    return warm_after(cache.cache, cache.name, stale, sorted(beginnings - {""}))


def _apply(
    cache: OpenCache,
    result: RuleResult,
    *,
    writes: bool,
    progress: Progress,
    idle_times: IdleTimes | None,
) -> RuleResult:
    rule = result.rule
    age = rule.older_than_seconds
    needs = idle_times.needs_for(age) if idle_times and age else ""
    progress.check()
    result.keys_there, result.keys_dropped = _drop_keys(cache, rule.keys, writes=writes)
    for pattern in (*rule.patterns, *(escape_glob(prefix) + "*" for prefix in rule.prefixes)):
        reason = _unmatchable(cache, pattern)
        if reason:
            result.unmatchable[pattern] = reason
            continue
        if needs:
            stored = str(cache.stored_pattern(pattern))
            result.patterns.append(PatternTally(pattern, stored, idle_time_missing=needs))
            continue
        result.patterns.append(
            invalidate_pattern(
                cache,
                pattern,
                older_than_seconds=age,
                keep=rule.keep,
                dry_run=not writes,
                progress=progress,
            )
        )
    groups = len(rule.tags) + len(rule.namespaces)
    for kind, names in (("tag", rule.tags), ("namespace", rule.namespaces)):
        for name in names:
            progress.update(
                len(result.groups), groups, phase=f"dropping {result.name}", unit="groups"
            )
            result.groups[kind, name] = _drop_group(cache, kind, name) if writes else None
    return result


def _drop_keys(cache: OpenCache, keys: Sequence[str], *, writes: bool) -> tuple[int, int]:
    """Return how many of ``keys`` were there, and how many of those are gone."""
    if not keys:
        return 0, 0
    values = stored_values(cache)
    there = values.present(keys)
    if writes:
        cache.cache.delete_many(list(there))
        return len(there), len(there) - len(values.present(list(there)))
    return len(there), 0


def _drop_group(cache: OpenCache, kind: str, name: str) -> bool:
    if kind == "tag":
        return invalidate_tag(cache.cache, name)
    return Namespace(name).invalidate(cache.cache)


def _unmatchable(cache: OpenCache, pattern: str) -> str:
    if cache.client is None:
        return "a cache in Redis (this backend cannot list its keys)"
    if cache.stored_pattern(pattern) is None:
        return "a KEY_FUNCTION that keeps the key's text (this one hashes it)"
    return ""


def invalidate_pattern(
    cache: OpenCache,
    pattern: str,
    *,
    older_than_seconds: float | None = None,
    keep: Iterable[str] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PatternTally:
    """Drop the values whose key matches the glob ``pattern`` in the cache's prefix and version.

    What matches a pattern of ``keep`` stays, and so do sessions, unless ``pattern`` begins as their keys
    do: without them people are logged out. Only for a cache in Redis. The server's idle times are
    believed: see :mod:`maintenance.redis_client.idle_times` for when that is wrong. Raises
    :class:`InvalidOptions` for a pattern that matches nearly all.
    """
    refuse_flush(pattern)
    stored = cache.stored_pattern(pattern)
    if cache.client is None or stored is None:
        raise ValueError(f"The keys of cache {cache.name} cannot be matched by a pattern.")
    tally = PatternTally(pattern, stored)
    names_sessions = literal_beginning(pattern).startswith(SESSION_KEYS)
    drop_pattern(
        cache.client,
        tally,
        progress or SilentProgress(),
        older_than_seconds=older_than_seconds,
        keep=[str(cache.stored_pattern(one)) for one in keep],
        sessions="" if names_sessions else str(cache.stored_pattern(f"{SESSION_KEYS}*")),
        dry_run=dry_run,
    )
    return tally


def invalidate_prefix(cache: OpenCache, prefix: str, *, dry_run: bool = False) -> PatternTally:
    """Drop the values whose key begins with ``prefix``, which is literal text.

    A :class:`~maintenance.caching.namespaces.Namespace` does the same in one write.
    """
    return invalidate_pattern(cache, escape_glob(prefix) + "*", dry_run=dry_run)


def invalidate_keys(cache: OpenCache, keys: Iterable[str]) -> int:
    """Drop ``keys`` and return how many of them were there."""
    names = list(dict.fromkeys(keys))
    values = stored_values(cache)
    dropped = 0
    for start in range(0, len(names), KEYS_PER_DELETE):
        part = names[start : start + KEYS_PER_DELETE]
        dropped += len(values.present(part))
        cache.cache.delete_many(part)
    return dropped
