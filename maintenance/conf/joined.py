"""What joins the sections of a configuration: names of one another, and what two may not both have."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maintenance.conf.addresses import database_of
from maintenance.conf.streams import overlaps_of
from maintenance.core.suggestions import did_you_mean

if TYPE_CHECKING:  # it is checked by this module
    from maintenance.conf.whole import Configuration


@dataclass(frozen=True, slots=True)
class JoinFault:
    """One target that cannot be as it is beside the others.

    ``named`` are section and name of what it wants and there is not; empty where that is not the fault.
    """

    section: str
    target: str
    sentence: str
    named: tuple[str, str] = ("", "")


class JoinFaults(ValueError):
    """All of them, a line each."""

    def __init__(self, faults: Collection[JoinFault]) -> None:
        super().__init__("\n".join(fault.sentence for fault in faults))
        self.faults = tuple(faults)


def faults_between(sections: "Configuration") -> Iterator[JoinFault]:
    """Yield what is wrong between targets, each of which is possible by itself."""
    for section, target, setting, wanted, name in _names(sections):
        known: Mapping[str, Any] = getattr(sections, wanted)
        if name not in known:
            yield JoinFault(
                section,
                target,
                f'{section}.{target}.{setting} names "{name}", which is {_NONE_OF[wanted]};'
                f" {did_you_mean(name, known)}",
                (wanted, name),
            )
    yield from _two_rules(sections)
    yield from _live_caches_called_abandoned(sections)


_NONE_OF = {
    "databases": "no database",
    "redis": "no Redis target",
    "stream_owners": "none of stream_owners",
    "logs": "none of logs",
}


def _names(sections: "Configuration") -> Iterator[tuple[str, str, str, str, str]]:
    """Yield section, target and setting of each name, the section that it should be in, and the name."""
    yield from _names_of_streams(sections)
    for name, media in sections.media.items():
        for reference in media.references:
            yield "media", name, "references", "databases", reference.database
    for name, deployment in sections.deployments.items():
        if deployment.database:
            yield "deployments", name, "database", "databases", deployment.database
        for server in deployment.redis:
            yield "deployments", name, "redis", "redis", server
    for name, test in sections.load_test.items():
        if test.log:
            yield "load_test", name, "log", "logs", test.log


def _names_of_streams(sections: "Configuration") -> Iterator[tuple[str, str, str, str, str]]:
    for name, family in sections.streams.items():
        yield "streams", name, "redis", "redis", family.redis
        if family.owners:
            yield "streams", name, "owners", "stream_owners", family.owners
    for name, owners in sections.stream_owners.items():
        if owners.database:
            yield "stream_owners", name, "database", "databases", owners.database


def _two_rules(sections: "Configuration") -> Iterator[JoinFault]:
    placed = {
        name: family for name, family in sections.streams.items() if family.redis in sections.redis
    }
    for one, fault in overlaps_of(placed, sections.redis):
        yield JoinFault("streams", one, fault)


def _live_caches_called_abandoned(sections: "Configuration") -> Iterator[JoinFault]:
    """Find caches whose keys a server's rules would remove as left over."""
    for name, server in sections.redis.items():
        where = database_of(server.url)
        for prefix in server.reclaim.abandoned_prefixes:
            for cache_name, cache in sections.caches.items():
                live = f"{cache.key_prefix}:{cache.version}:"
                if cache.url and live.startswith(prefix) and database_of(cache.url) == where:
                    yield JoinFault(
                        "redis",
                        name,
                        f'redis.{name}.reclaim.abandoned_prefixes has "{prefix}", and keys of'
                        f' caches.{cache_name} begin with "{live}": they are in use, and would be'
                        " removed. Take the prefix out of the list, or correct key_prefix and version of"
                        " the cache",
                    )
