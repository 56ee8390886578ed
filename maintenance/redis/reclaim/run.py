"""Memory won back: the look at the encodings, and the parts that write."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import redis

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.core.job import Job, Progress
from maintenance.core.latency import with_latency
from maintenance.core.reports import Report
from maintenance.redis.pages import Looks, looking
from maintenance.redis.reclaim.advice import worthwhile
from maintenance.redis.reclaim.compact import SizeModel, limits_from
from maintenance.redis.reclaim.encodings import measure_encodings, recommend
from maintenance.redis.reclaim.leftovers import AbandonedPrefix, LeftoverRule, Leftovers, TimeOut
from maintenance.redis.reclaim.options import ReclaimOptions
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis.reclaim.repack import Repack
from maintenance.redis.reclaim.report import ReclaimRun, build_report
from maintenance.redis.reclaim.trial import is_too_slow, try_out
from maintenance.redis.stream_claims import families_beside, keys_of
from maintenance.redis_client.connection import session
from maintenance.redis_client.globs import matcher
from maintenance.redis_client.idle_times import IdleTimes
from maintenance.redis_client.packed import Exchange, exchange
from maintenance.redis_client.probe import PacedProgress, probing
from maintenance.redis_client.server import server_facts


def reclaim_redis_memory(
    job: Job[RedisTarget, ReclaimOptions],
    families: Mapping[str, StreamFamily] | None = None,
    servers: Mapping[str, RedisTarget] | None = None,
) -> Report:
    """Look for memory that can be won back without losing data, and win it where that is asked for.

    ``families`` are stream families, whose keys no rule removes or lets expire, and ``servers`` the
    targets that they live on. With ``dry_run`` every part counts what it would do and writes nothing.
    What a run has done when it ends early stays done; another run goes on with the rest. Raises
    :class:`TargetUnavailable`, :class:`MissingRights`, and :class:`ConfigurationError` for a provider
    of keys that breaks.
    """
    known = families or {}
    with session(job.target) as client:
        info = client.info()
        server = server_facts(client)
        run = ReclaimRun(
            job.target_name,
            job.options,
            server,
            config_file=str(info.get("config_file", "")),
            model=SizeModel.of(server, str(info.get("mem_allocator", ""))),
            idle_times=IdleTimes.seen(server, job.previous_state, time.time()),
        )
        with probing(client) as probe:
            progress = PacedProgress(job.progress, probe, job.target.added_latency_ms)
            with looking(client) as looks, exchange(client, progress.check) as writes:
                parts = _Parts(run, job.target, client, looks, writes, progress=progress)
                # Of a cluster, any other node may be the target of families with keys on this one.
                if not server.cluster_enabled:
                    known = families_beside(job.target_name, known, servers or {})
                parts.do(known.values())
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
        looks: Looks,
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

    def do(self, families: Iterable[StreamFamily]) -> None:
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
        rules = list(self._leftover_rules())
        if rules:
            is_excepted, is_stream = matcher(self._rules.exceptions), keys_of(families)
            for rule in rules:
                self._leftovers(rule, lambda key: is_excepted(key) or is_stream(key))

    def _look_at_encodings(self) -> None:
        run = self._run
        run.sample = measure_encodings(
            self._looks.keys, run.server.keys, run.options.sample_keys, run.model, self._progress
        )
        self._recommend()

    def _recommend(self) -> None:
        run = self._run
        if run.sample is not None:
            too_slow = {setting: one.value for setting, (one, _) in run.too_slow.items()}
            found = recommend(run.sample, run.limits, too_slow)
            run.recommendations = worthwhile(found, run.server)

    def _try_out(self) -> None:
        """Try each limit that is advised; one that is too slow gives way to a lower one."""
        run = self._run
        while untried := [one for one in run.recommendations if run.is_untried(one)]:
            for one in untried:
                measured = try_out(self._writes, one)
                if is_too_slow(measured):
                    run.too_slow[one.setting] = (one, measured)
                else:
                    run.trials[one.setting] = measured
            self._recommend()

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
            idle_seconds = rules.minimum_idle_seconds
            needs = self._run.idle_times.needs_for(idle_seconds) if idle_seconds else ""
            for prefix in rules.abandoned_prefixes:
                if needs:
                    self._run.withheld[prefix] = needs
                else:
                    yield AbandonedPrefix(prefix, idle_seconds)
        if "time_outs" in parts:
            for prefix, seconds in rules.time_outs.items():
                yield TimeOut(prefix, seconds)

    def _leftovers(self, rule: LeftoverRule, spared: Callable[[bytes], bool]) -> None:
        part = Leftovers(
            self._looks,
            self._writes,
            self._run.server,
            rule,
            spared=spared,
            pace=self._pace,
            may_write=self._run.writes,
        )
        self._run.leftovers.append(part.tally)
        part.run(self._progress)


def _limit_settings(client: redis.Redis) -> dict[str, str]:
    return {str(name): str(value) for name, value in client.config_get("*-max-*").items()}
