"""Which ACL rules the tasks need on a Redis server, as it is configured. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from maintenance.caching.invalidation_rights import rights_of_rules
from maintenance.caching.patterns import NEEDS_ACL as PATTERN_ACL
from maintenance.caching.stored_sample import NEEDS_ACL as SAMPLE_ACL
from maintenance.caching.warming import NEEDS_ACL as WARMING_ACL
from maintenance.conf import BrokerTarget, CacheTarget, Configuration
from maintenance.conf.addresses import database_number, server_address
from maintenance.queues.redis_broker import acl_of as broker_acl
from maintenance.redis.companions import companion_globs
from maintenance.redis.memory.review import NEEDS_ACL as MEMORY_ACL
from maintenance.redis.reclaim.encodings import NEEDS_ACL as ENCODINGS_ACL
from maintenance.redis.reclaim.leftovers import NEEDS_ACL as LEFTOVERS_ACL
from maintenance.redis.reclaim.repack import NEEDS_ACL as REPACK_ACL
from maintenance.redis.stream_classes import families_on
from maintenance.redis.trimming import LENGTH_COMMANDS, TrimRule
from maintenance.redis_client.batch_size import NEEDS_ACL as CLOCK_ACL
from maintenance.redis_client.globs import escape_glob
from maintenance.redis_client.nodes import CLUSTER_NEEDS_ACL
from maintenance.redis_client.packed import NO_TOUCH_ACL
from maintenance.redis_client.server import ServerFacts

#: The most that times to live take, on old servers and new.
_EXPIRY_ACL = ("+pttl", "+pexpiretime")
#: By rule the version of Redis that it came with. Every Valkey knows them.
_CAME_WITH = {"+pexpiretime": (7, 0), "+client|setinfo": (7, 2), NO_TOUCH_ACL: (7, 2)}


@dataclass(slots=True)
class RedisNeeds:
    """By ACL rule the tasks that need it: ``reading``, and ``writing`` beyond that.

    ``written`` are glob patterns of the keys that our tasks write to.
    """

    reading: dict[str, list[str]] = field(default_factory=dict)
    writing: dict[str, list[str]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    def read(self, task: str, rules: Iterable[str]) -> None:
        """Note what a task that only looks needs."""
        _add(self.reading, task, rules)

    def write(self, task: str, rules: Iterable[str], patterns: Iterable[str]) -> None:
        """Note what a task that writes needs, and where it writes."""
        _add(self.writing, task, rules)
        self.written += [pattern for pattern in patterns if pattern not in self.written]

    @property
    def rules(self) -> dict[str, list[str]]:
        """All of them."""
        both = {rule: list(tasks) for rule, tasks in self.reading.items()}
        for rule, tasks in self.writing.items():
            both[rule] = [*both.get(rule, []), *tasks]
        return dict(sorted(both.items()))


def _add(known: dict[str, list[str]], task: str, rules: Iterable[str]) -> None:
    for rule in rules:
        tasks = known.setdefault(rule, [])
        if task not in tasks:
            tasks.append(task)


def known_rules(rules: Iterable[str], facts: ServerFacts | None) -> list[str]:
    """Leave out what a server has not heard of: it refuses the whole line that names it.

    One that does not say what it is counts as Redis 7.0.
    """
    if facts and facts.product != "Redis":
        return sorted(rules)
    numbers = facts.numbers if facts else (7, 0)
    return sorted(rule for rule in rules if numbers >= _CAME_WITH.get(rule, (0, 0)))


def _always(url: str) -> Iterator[str]:
    """Yield what every look takes; a connection to any database but 0 has to choose it first.

    By the name of a connection the review of slow commands knows our own. redis-py says who it is.
    """
    yield from ("+client|setinfo", "+client|setname", "+ping", "+info")
    if database_number(url):
        yield "+select"


def needs_of_redis(configuration: Configuration, name: str) -> RedisNeeds:
    """Return what the tasks on one Redis target need. Raises as :func:`families_on`."""
    needs = RedisNeeds()
    target = configuration.redis[name]
    needs.read("check_redis_memory", (*_always(target.url), *MEMORY_ACL))
    needs.read("reclaim_redis_memory", (*ENCODINGS_ACL, NO_TOUCH_ACL))
    needs.read("review_cache_hit_ratios", ("+hgetall",))
    for family in families_on(configuration, name).values():
        pattern = family.pattern or "*"
        rule = TrimRule(family, now_epoch_seconds=0.0)
        rules = (*rule.needs_acl, *CLOCK_ACL, NO_TOUCH_ACL, "+type", "+memory|usage")
        needs.write("trim_streams", rules, (pattern,))
        if "remove_streams" in target.allow and family.owners:
            length = f"+{LENGTH_COMMANDS[family.type].decode().lower()}"
            looking = ("+scan", "+exists", "+memory|usage", length, *CLOCK_ACL, NO_TOUCH_ACL)
            removing = (*looking, "+unlink")
            needs.write("remove_abandoned_streams", removing, (pattern, *companion_globs(family)))
    if "reclaim_memory" in target.allow:
        needs.write("reclaim_redis_memory", (*REPACK_ACL, *_EXPIRY_ACL), ("*",))
        prefixes = [f"{escape_glob(one)}*" for one in target.reclaim.abandoned_prefixes]
        if prefixes:
            needs.write(
                "reclaim_redis_memory", (*LEFTOVERS_ACL, "+unlink", "+object|idletime"), prefixes
            )
        if target.reclaim.time_outs:
            timed = [f"{escape_glob(one)}*" for one in target.reclaim.time_outs]
            needs.write("reclaim_redis_memory", (*LEFTOVERS_ACL, "+expire"), timed)
    return needs


def needs_of_cache(target: CacheTarget) -> RedisNeeds:
    """Return what the tasks on one cache need."""
    needs = RedisNeeds()
    keys = f"{escape_glob(target.key_prefix)}:{target.version}:*"
    needs.read("review_caching_strategy", (*_always(target.url or ""), *SAMPLE_ACL, "+hgetall"))
    needs.write("warm_caches", WARMING_ACL, (keys,))
    if rights := sorted(set(rights_of_rules(target.invalidate.values()))):
        needs.write("invalidate_caches", rights, (keys,))
    if "flush_cache" in target.allow:
        needs.write("flush_cache", PATTERN_ACL, (keys,))
    return needs


def needs_of_broker(target: BrokerTarget) -> RedisNeeds:
    """Return what reading the queues of a broker takes: nothing is ever written there."""
    needs = RedisNeeds()
    needs.read("check_queue_depths", (*_always(target.url), *broker_acl(target)))
    return needs


def on_a_cluster(needs: RedisNeeds) -> RedisNeeds:
    """Return the same with what finding the nodes of a cluster takes."""
    more = RedisNeeds(dict(needs.reading), needs.writing, needs.written)
    more.read("trim_streams", CLUSTER_NEEDS_ACL)
    return more


def needs_of_servers(configuration: Configuration) -> dict[str, RedisNeeds]:
    """Return the needs by server, named by the first target on it: one user serves all of them."""
    names: dict[tuple[str, int | str | None], str] = {}
    needed: dict[str, RedisNeeds] = {}
    for title, reference, needs in _all_needs(configuration):
        name = names.setdefault(server_address(reference), title)
        both = needed.setdefault(name, RedisNeeds())
        for rule, tasks in needs.reading.items():
            for task in tasks:
                both.read(task, (rule,))
        for rule, tasks in needs.writing.items():
            for task in tasks:
                both.write(task, (rule,), needs.written)
    return needed


def _all_needs(configuration: Configuration) -> Iterator[tuple[str, str, RedisNeeds]]:
    for name, target in configuration.redis.items():
        yield f"redis.{name}", target.url, needs_of_redis(configuration, name)
    for name, cache in configuration.caches.items():
        if cache.url:
            yield f"caches.{name}", cache.url, needs_of_cache(cache)
    for name, broker in configuration.brokers.items():
        yield f"brokers.{name}", broker.url, needs_of_broker(broker)
