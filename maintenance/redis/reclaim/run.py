"""Memory won back: the look at the encodings, and the parts that write."""

from collections.abc import Iterator, Sequence

import redis

from maintenance.conf import RedisTarget
from maintenance.core.job import Job, Progress
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.redis.reclaim.advice import worthwhile
from maintenance.redis.reclaim.compact import SizeModel, limits_from
from maintenance.redis.reclaim.encodings import measure_encodings, recommend
from maintenance.redis.reclaim.leftovers import AbandonedPrefix, LeftoverRule, Leftovers, TimeOut
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis.reclaim.repack import Repack
from maintenance.redis.reclaim.report import ReclaimRun, build_report
from maintenance.redis.reclaim.trial import try_out
from maintenance.redis_client.connection import session
from maintenance.redis_client.globs import matcher
from maintenance.redis_client.packed import Exchange, exchange
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import server_facts


def reclaim_redis_memory(
    job: Job[RedisTarget, ReclaimOptions], family_patterns: Sequence[str] = ()
) -> Report:
    """Look for memory that can be won back without losing data, and win it where that is asked for.

    ``family_patterns`` are globs of stream families, whose keys no rule removes or lets expire. With
    ``dry_run`` every part counts what it would do and writes nothing. What a run has done when it
    ends early stays done; another run goes on with the rest. Raises :class:`TargetUnavailable` and
    :class:`MissingRights`.
    """
    with session(job.target) as client:
        info = client.info()
        server = server_facts(client)
        run = ReclaimRun(
            job.target_name,
            job.options,
            server,
            config_file=str(info.get("config_file", "")),
            model=SizeModel.of(server, str(info.get("mem_allocator", ""))),
        )
        with probing(client) as probe:
            progress = PacedProgress(job.progress, probe, job.target.added_latency_ms)
            with exchange(client) as looks, exchange(client, progress.check) as writes:
                _Parts(run, job.target, client, looks, writes, progress=progress).do(
                    family_patterns
                )
        run.after = server_facts(client)
    return with_latency(
        build_report(run),
        probe.change,
        job.target.added_latency_ms,
        stood_still_seconds=progress.stood_still_seconds,
    )


class _Parts:
    """The parts of a run, one after the other."""

    def __init__(
        self,
        run: ReclaimRun,
        target: RedisTarget,
        client: redis.Redis,
        looks: Exchange,
        writes: Exchange,
        *,
        progress: Progress,
    ) -> None:
        self._run = run
        self._rules = target.reclaim
        self._client = client
        self._looks = looks
        self._writes = writes
        self._progress = progress
        self._pace = Pace(target.reclaim.keys_per_second, progress.check)

    def do(self, family_patterns: Sequence[str]) -> None:
        run, parts = self._run, self._run.options.parts
        if {"encodings", "trial", "repack"} & set(parts):
            run.settings = _limit_settings(self._client)
            run.limits = limits_from(run.settings)
        if {"encodings", "trial"} & set(parts) or ("repack" in parts and run.options.dry_run):
            self._look_at_encodings()
        if "trial" in parts and run.may_try_out:
            self._try_out()
        if "repack" in parts:
            self._repack()
        spared = (*self._rules.exceptions, *family_patterns)
        for rule in self._leftover_rules():
            self._leftovers(rule, spared)

    def _look_at_encodings(self) -> None:
        run = self._run
        run.sample = measure_encodings(
            self._looks, run.server.keys, run.options.sample_keys, run.model
        )
        run.recommendations = worthwhile(recommend(run.sample, run.limits), run.server)

    def _try_out(self) -> None:
        for one in self._run.recommendations:
            if not one.is_repack_only:
                self._run.trials[one.setting] = try_out(self._writes, one)

    def _repack(self) -> None:
        run = self._run
        repack = Repack(
            self._looks,
            self._writes,
            run.server,
            run.limits,
            spared=matcher(self._rules.exceptions),
            pace=self._pace,
            may_write=run.may_repack,
        )
        run.repack = repack.tally
        repack.run(self._progress)

    def _leftover_rules(self) -> Iterator[LeftoverRule]:
        parts, rules = self._run.options.parts, self._rules
        if "abandoned" in parts:
            for prefix in rules.abandoned_prefixes:
                yield AbandonedPrefix(prefix, rules.minimum_idle_seconds)
        if "time_outs" in parts:
            for prefix, seconds in rules.time_outs.items():
                yield TimeOut(prefix, seconds)

    def _leftovers(self, rule: LeftoverRule, spared: Sequence[str]) -> None:
        part = Leftovers(
            self._looks,
            self._writes,
            self._run.server,
            rule,
            spared=matcher(spared),
            pace=self._pace,
            may_write=self._run.writes,
        )
        self._run.leftovers.append(part.tally)
        part.run(self._progress)


def _limit_settings(client: redis.Redis) -> dict[str, str]:
    return {str(name): str(value) for name, value in client.config_get("*-max-*").items()}
