"""Warming: registered values are computed and written before a visitor has to wait for them.

A warmer that fails, times out or returns nothing leaves the old value in place, is named in the
report, and does not keep the others from running.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import redis

from maintenance.caching import warm_after as after_invalidation
from maintenance.caching.backend import OpenCache, opened, paced, reason_to_refuse
from maintenance.caching.counters import stored_counts
from maintenance.caching.fragments import warm_fragment
from maintenance.caching.instrumented import Instrumented
from maintenance.caching.key_prefixes import prefix_of
from maintenance.caching.options import WarmOptions
from maintenance.caching.pages import PageAnswer, render_page
from maintenance.caching.stored_values import StoredValues, stored_values
from maintenance.caching.stored_writes import write
from maintenance.caching.warm_after import warm_after
from maintenance.caching.warmed_groups import GroupVersions, present_versions, take_versions
from maintenance.caching.warmed_keys import forget_keys, note_keys, noted_keys
from maintenance.caching.warmer_functions import failure_of, run_function, values_of
from maintenance.caching.warmers import PageRequest, Warmer, warm_view, warmer, warmers_of
from maintenance.caching.warming_report import WarmerResult, build_report, outcome_of
from maintenance.conf import CacheTarget
from maintenance.core.job import Job, Progress
from maintenance.core.plans import Verdict
from maintenance.core.reports import FollowUp, Report
from maintenance.core.suggestions import require_known

__all__ = [
    "WarmOptions",
    "warm_after",
    "warm_caches",
    "warm_fragment",
    "warm_view",
    "warmer",
    "warmers_of",
]

#: Whoever asks today wants what was asked for yesterday and today.
DEMAND_DAYS = 2
#: Warmers that were asked for while a run was at work follow it, soon but not at once.
FOLLOW_UP_SECONDS = 60.0

#: What a run needs of a cache in Redis, beside its keys. Counts and notes of what is waited for
#: lie beside the site's own.
NEEDS_ACL = (
    *("+ping", "+info", "+get", "+mget", "+set", "+del", "+strlen", "+pttl"),
    *("+hgetall", "+zrem", "+zrange"),
    # The version of a group in use is kept from expiring: by Django's backend, and by django-redis.
    *("+expire", "+pexpire"),
)

#: Waits until one more value may be computed; see ``maintenance.core.runs.limits.wait_for_start``.
WaitForStart = Callable[[Progress], object]


def warm_caches(
    job: Job[CacheTarget, WarmOptions], wait_for_start: WaitForStart | None = None
) -> Report:
    """Run the warmers of the target's cache, the most asked for first, and write what they return.

    What an earlier attempt of this run has done is not done again. A server that takes no writes, or
    has a part of the keys only, is refused before anything is computed. Raises :class:`UnknownName`
    for a warmer that is not registered, and :class:`TargetUnavailable` or :class:`MissingRights` for
    the cache's server.
    """
    chosen = choose_warmers(job.target_name, job.target, job.options)
    with (
        opened(job.target_name, job.target) as cache,
        paced(cache, job.progress, job.target.added_latency_ms) as (progress, with_its_latency),
    ):
        refusal = reason_to_refuse(cache)
        if refusal:
            refused = [WarmerResult(one, refusal=refusal) for one in chosen]
            report = build_report(
                job.target_name, job.options.dry_run, refused, _known_prefixes(job)
            )
        else:
            report = _run_all(job, cache, chosen, progress, wait_for_start)
    if cache.client is not None:
        report = replace(report, facts={**report.facts, "needs_acl": list(NEEDS_ACL)})
    return with_its_latency(report)


def _run_all(
    job: Job[CacheTarget, WarmOptions],
    cache: OpenCache,
    chosen: Sequence[Warmer],
    progress: Progress,
    wait_for_start: WaitForStart | None,
) -> Report:
    results: list[WarmerResult] = []
    known = _known_prefixes(job)
    prefixes = _prefixes_of(chosen, cache, known)
    reads = _reads_by_prefix(cache)
    chosen = by_demand(chosen, {name: reads.get(prefixes[name], 0) for name in prefixes})
    if not job.options.dry_run:
        _take_noted(cache, chosen)
    done = job.steps.done()
    for number, one in enumerate(chosen):
        progress.update(number, len(chosen), phase=f"warming {one.name}", unit="warmers")
        result = WarmerResult(one, reads=reads.get(prefixes[one.name]))
        results.append(result)
        if one.name in done:
            result.earlier = done[one.name]
            continue
        wait = wait_for_start or (lambda _progress: None)
        _Warming(cache, job.target.alias, job.options, progress, wait).run(result)
        prefixes[one.name] = result.prefix or prefixes[one.name]
        outcome = outcome_of(job.options.dry_run, result)
        if outcome.verdict in (Verdict.WORKED, Verdict.NO_GAIN):
            job.steps.record(one.name, outcome)
    follow_up = None if job.options.dry_run else _follow_up(cache, job)
    return build_report(job.target_name, job.options.dry_run, results, known | prefixes, follow_up)


def choose_warmers(name: str, target: CacheTarget, options: WarmOptions) -> list[Warmer]:
    """Return the warmers to run: those of the cache, limited by the target and by the options."""
    known = warmers_of(name)
    for asked in (*target.warmers, *options.only):
        require_known(f"warmer of cache {name}", asked, known)
    return [
        one
        for one in known.values()
        if (not target.warmers or one.name in target.warmers)
        and (not options.only or one.name in options.only)
    ]


def by_demand(chosen: Sequence[Warmer], reads: Mapping[str, int]) -> list[Warmer]:
    """Return the warmers with the most reads first; equal ones stay in order of registration."""
    return sorted(chosen, key=lambda one: -reads.get(one.name, 0))


def _known_prefixes(job: Job[CacheTarget, WarmOptions]) -> dict[str, str]:
    """Return the key prefixes that the run before saw, by warmer."""
    return dict(job.previous_state.get("prefixes", {}))


def _prefixes_of(
    chosen: Sequence[Warmer], cache: OpenCache, known: Mapping[str, str]
) -> dict[str, str]:
    """Return the key prefix of each warmer: declared, by its key, or as its last run saw it."""
    rule = _rule_of(cache)
    return {
        one.name: one.prefix or (rule(one.beginning) if one.beginning else known.get(one.name, ""))
        for one in chosen
    }


def _rule_of(cache: OpenCache) -> Callable[[str], str]:
    return cache.cache.counts.prefix_of if isinstance(cache.cache, Instrumented) else prefix_of


def _reads_by_prefix(cache: OpenCache) -> dict[str, int]:
    return {counts.prefix: counts.reads for counts in stored_counts(cache, DEMAND_DAYS).prefixes}


def _take_noted(cache: OpenCache, chosen: Sequence[Warmer]) -> None:
    if cache.client is not None:
        after_invalidation.take(cache.client, cache.cache, [one.name for one in chosen])


def _follow_up(cache: OpenCache, job: Job[CacheTarget, WarmOptions]) -> FollowUp | None:
    """Return a run for the warmers that were asked for while this one was at work."""
    if cache.client is None:
        return None
    # What the target leaves out is not warmed here, however often it is asked for.
    known = {one.name for one in choose_warmers(job.target_name, job.target, WarmOptions())}
    waiting = [one for one in after_invalidation.noted(cache.client, cache.cache) if one in known]
    return FollowUp({"only": waiting}, FOLLOW_UP_SECONDS) if waiting else None


@dataclass(slots=True)
class _Warming:
    """One warmer: look, compute, write, look again."""

    cache: OpenCache
    alias: str
    options: WarmOptions
    progress: Progress
    wait_for_start: WaitForStart
    values: StoredValues = field(init=False)

    def __post_init__(self) -> None:
        self.values = stored_values(self.cache)

    def run(self, result: WarmerResult) -> None:
        started = time.perf_counter()
        if result.warmer.is_pages:
            self._render_pages(result)
        else:
            self._renew_values(result)
        result.duration_seconds = time.perf_counter() - started

    # --- Values ---------------------------------------------------------------------------------

    def _renew_values(self, result: WarmerResult) -> None:
        one = result.warmer
        versions = present_versions(one, self.cache.cache)
        if one.key is not None:
            self._look_before(result, [versions.prefix + one.key], versions)
        ahead = self.options.expiring_within_seconds
        if ahead > 0:
            result.seconds_left = self._seconds_left(one, versions)
        result.is_due = result.seconds_left <= ahead and not (
            self.options.cold_only and result.all_warm
        )
        if self.options.dry_run or not result.is_due:
            return
        self.wait_for_start(self.progress)
        try:
            versions = take_versions(one, self.cache.cache)
        except redis.exceptions.OutOfMemoryError as error:
            refusal = str(error).rstrip(". ")
            result.failure = f"the versions of its groups could not be stored: {refusal}"
            return
        answer = run_function(one)
        result.compute_seconds = answer.seconds
        values, result.failure = values_of(one, answer)
        if values:
            self._write(versions.stored(values), versions, result)

    def _seconds_left(self, one: Warmer, versions: GroupVersions) -> float:
        """Return how long the first of the values stays: 0 where one is missing."""
        if one.key is None:
            keys = noted_keys(self.cache, one, versions)
        else:
            keys = list(self._present([versions.prefix + one.key], versions))
        return min(self.values.seconds_left(keys), default=0.0)

    def _write(
        self, values: Mapping[str, object], versions: GroupVersions, result: WarmerResult
    ) -> None:
        one = result.warmer
        if one.many:
            result.prefix = _rule_of(self.cache)(str(next(iter(values))))
            there = self._look_before(result, list(values), versions)
            if self.options.cold_only:
                values = {key: value for key, value in values.items() if key not in there}
        total = len(values)
        tally = write(
            self.cache,
            values,
            one.ttl_seconds,
            lambda done: self.progress.update(
                done, total, phase=f"writing {one.name}", unit="keys"
            ),
            self.values.stored_key,
            check=self.progress.check,
        )
        result.keys_written, result.keys_refused = tally.keys_written, tally.keys_refused
        result.first_refusal = tally.first_refusal
        if tally.keys_refused and not tally.keys_written:
            result.failure = f"its value could not be stored: {tally.first_refusal}"
        else:
            result.keys_present_after, result.stored_bytes = self.values.sizes(list(values))
        if one.many:
            self._note(list(values), versions, result)

    def _note(self, keys: Sequence[str], versions: GroupVersions, result: WarmerResult) -> None:
        """Note what was written, where that is all of it: other values end at times of their own."""
        if result.keys_refused or result.keys_present_after < len(keys):
            forget_keys(self.cache, result.warmer)
        elif len(keys) == result.keys_looked_at:
            note_keys(self.cache, result.warmer, keys, versions)

    def _look_before(
        self, result: WarmerResult, keys: Sequence[str], versions: GroupVersions
    ) -> set[str]:
        there = self._present(keys, versions)
        result.keys_looked_at = len(keys)
        result.keys_warm_before = len(there)
        return there

    def _present(self, keys: Sequence[str], versions: GroupVersions) -> set[str]:
        """Return those of the stored ``keys`` that a reader finds."""
        return versions.current(self.cache.cache, list(self.values.present(keys)))

    # --- Pages ----------------------------------------------------------------------------------

    def _render_pages(self, result: WarmerResult) -> None:
        one = result.warmer
        if not self.alias:
            result.failure = "pages are rendered by the site's own code, and this target is a URL"
            result.remedy = (
                "Give this cache target the alias of settings.CACHES in place of the URL."
            )
            return
        if self.options.dry_run:
            return
        answer = run_function(one)
        result.failure = failure_of(one, answer)
        if result.failure:
            return
        pages: list[PageRequest] = answer.value
        stored: list[str] = []
        for number, page in enumerate(pages):
            self.progress.update(number, len(pages), phase=f"rendering {one.name}", unit="pages")
            self.wait_for_start(self.progress)
            stored += self._render(page, result)
        result.keys_written = len(stored)
        result.keys_present_after, result.stored_bytes = self.values.sizes(stored)
        if result.page_failures and len(result.page_failures) == len(pages):
            result.failure = next(iter(result.page_failures.values()))

    def _render(self, page: PageRequest, result: WarmerResult) -> Sequence[str]:
        """Render one page and return the keys that were stored."""
        self.progress.check()
        result.keys_looked_at += 1
        answer = run_function(
            result.warmer, partial(render_page, self.alias, page, self._page_is_due)
        )
        result.compute_seconds += answer.seconds
        problem = failure_of(result.warmer, answer)
        if problem:
            result.page_failures[page.url] = problem
            return ()
        rendered: PageAnswer = answer.value
        result.keys_warm_before += rendered.was_stored
        result.varies_on |= set(rendered.varies_on)
        if rendered.problem:
            result.page_failures[page.url] = rendered.problem
        return rendered.stored_keys

    def _page_is_due(self, key: str) -> bool:
        if self.options.cold_only:
            return False
        ahead = self.options.expiring_within_seconds
        return ahead <= 0 or self.values.seconds_left([key])[0] <= ahead
