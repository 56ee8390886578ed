"""Warming: registered values are computed and written before a visitor has to wait for them.

A warmer that fails, times out or returns nothing leaves the old value in place, is named in the
report, and does not keep the others from running.
"""

import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from django.db import connections

from maintenance.caching.backend import OpenCache, opened, paced
from maintenance.caching.stored_values import StoredValues, stored_values
from maintenance.caching.warmers import Warmer, warmer, warmers_of
from maintenance.caching.warming_report import WarmerResult, build_report
from maintenance.conf import CacheTarget
from maintenance.core.job import Job, Progress
from maintenance.core.reports import Report
from maintenance.core.suggestions import require_known

__all__ = ["WarmOptions", "warm_caches", "warmer", "warmers_of"]

#: Keys in one MSET: some milliseconds of the server's time at most.
KEYS_PER_WRITE = 500

#: What a backend raises for a value or key that it cannot store. A lost server is none of these.
_REFUSED_VALUES = (
    redis.ResponseError,
    redis.DataError,
    pickle.PicklingError,
    TypeError,
    AttributeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class WarmOptions:
    """``only`` names warmers, empty means all; ``cold_only`` leaves values that are there."""

    only: tuple[str, ...] = ()
    cold_only: bool = False
    dry_run: bool = False


def warm_caches(job: Job[CacheTarget, WarmOptions]) -> Report:
    """Run the warmers of the target's cache and write what they return.

    Raises :class:`UnknownName` for a warmer that is not registered, and
    :class:`TargetUnavailable` or :class:`MissingRights` for the cache's server.
    """
    chosen = choose_warmers(job.target_name, job.target, job.options)
    results: list[WarmerResult] = []
    with (
        opened(job.target_name, job.target) as cache,
        paced(cache, job.progress, job.target.added_latency_ms) as (progress, with_its_latency),
    ):
        for number, one in enumerate(chosen):
            progress.update(number, len(chosen), phase=f"warming {one.name}", unit="warmers")
            results.append(_Warming(cache, one, job.options, progress).run())
    return with_its_latency(build_report(job.target_name, job.options.dry_run, results))


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


@dataclass(slots=True)
class _Warming:
    """One warmer: look, compute, write, look again."""

    cache: OpenCache
    warmer: Warmer
    options: WarmOptions
    progress: Progress
    values: StoredValues = field(init=False)

    def __post_init__(self) -> None:
        self.values = stored_values(self.cache)

    def run(self) -> WarmerResult:
        result = WarmerResult(self.warmer)
        started = time.perf_counter()
        if not self.warmer.many:
            self._look_before(result, [str(self.warmer.key)])
        if self.options.dry_run or (self.options.cold_only and result.all_warm):
            return result
        self._compute_and_write(result)
        result.duration_seconds = time.perf_counter() - started
        return result

    def _look_before(self, result: WarmerResult, keys: Sequence[str]) -> set[str]:
        there = self.values.present(keys)
        result.keys_looked_at = len(keys)
        result.keys_warm_before = len(there)
        return there

    def _compute_and_write(self, result: WarmerResult) -> None:
        answer = run_function(self.warmer)
        result.compute_seconds = answer.seconds
        values, result.failure = _values_of(self.warmer, answer)
        if result.failure:
            return
        try:
            if self.warmer.many:
                there = self._look_before(result, list(values))
                if self.options.cold_only:
                    values = {key: value for key, value in values.items() if key not in there}
            self._write(values, result)
        except _REFUSED_VALUES as error:
            result.failure = f"its value could not be stored: {_describe(error)}"
            return
        result.keys_written = len(values)
        result.keys_present_after, result.stored_bytes = self.values.sizes(list(values))

    def _write(self, values: Mapping[str, Any], result: WarmerResult) -> None:
        keys = list(values)
        for start in range(0, len(keys), KEYS_PER_WRITE):
            part = {key: values[key] for key in keys[start : start + KEYS_PER_WRITE]}
            result.keys_refused += len(
                self.cache.cache.set_many(part, timeout=self.warmer.ttl_seconds)
            )
            self.progress.update(
                min(start + KEYS_PER_WRITE, len(keys)),
                len(keys),
                phase=f"writing {self.warmer.name}",
                unit="keys",
            )


@dataclass(slots=True)
class Answer:
    """What a warmer's function returned or raised, and how long it took."""

    value: Any = None
    error: BaseException | None = None
    finished: bool = False
    seconds: float = 0.0


def run_function(one: Warmer) -> Answer:
    """Run a warmer's function in a thread of its own, for at most its ``timeout_seconds``.

    Python cannot stop a thread: one that takes longer runs on, and what it returns is dropped.
    The thread also tells foreign errors from those of the run itself: a time limit of the worker
    is raised here, in the waiting thread, and ends the run.
    """
    answer = Answer()

    def compute() -> None:
        try:
            answer.value = one.function()
        except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises is its finding
            answer.error = error
        finally:
            answer.finished = True
            connections.close_all()  # Django's connections belong to a thread and die with it

    started = time.perf_counter()
    thread = threading.Thread(target=compute, name=f"warmer-{one.name}", daemon=True)
    thread.start()
    thread.join(one.timeout_seconds)
    answer.seconds = time.perf_counter() - started
    return answer


def _values_of(one: Warmer, answer: Answer) -> tuple[Mapping[str, Any], str]:
    """Return the values by key, or why there are none."""
    if not answer.finished:
        return {}, f"it took longer than {one.timeout_seconds:g} seconds"
    if answer.error is not None:
        return {}, f"it raised {_describe(answer.error)}"
    if answer.value is None:
        return {}, "it returned None, which a reader could not tell from a miss"
    if one.key is not None:
        return {one.key: answer.value}, ""
    if not isinstance(answer.value, Mapping):
        return {}, f"it returned {type(answer.value).__name__} where many=True needs a mapping"
    return answer.value, ""


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
