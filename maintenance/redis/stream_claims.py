"""Keys that two stream families claim: each would cut them to a limit of its own.

Patterns that can match one key are refused when the configuration is read. What shows at work alone
is seen here: keys that a provider or a caller names, and targets that turn out to be one cluster.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from maintenance.conf import RedisTarget, StreamFamily
from maintenance.conf.addresses import database_of
from maintenance.core.globs import common_key
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.providers import provided_keys
from maintenance.redis_client.globs import matcher


@dataclass(frozen=True, slots=True)
class Claims:
    """The other families that may claim keys of one, each with what says whether it does."""

    by_family: Mapping[str, Callable[[bytes], bool]]

    def __bool__(self) -> bool:
        return bool(self.by_family)

    def claimant(self, key: bytes) -> str | None:
        """Return the first other family that claims ``key`` as well; ``None`` where none does."""
        return next((name for name, claims in self.by_family.items() if claims(key)), None)


#: A family beside which there is no other.
NO_CLAIMS = Claims({})


def families_beside(
    target_name: str,
    families: Mapping[str, StreamFamily],
    servers: Mapping[str, RedisTarget],
    found_urls: Iterable[str] = (),
) -> dict[str, StreamFamily]:
    """Return the families whose keys lie where those of a target do, its own among them.

    ``servers`` are the targets that families live on. ``found_urls`` are those of the target's
    servers, where it took a connection to find them: the nodes of a cluster.
    """
    own = servers.get(target_name)
    databases = set(map(database_of, found_urls))

    def is_here(name: str) -> bool:
        other = servers.get(name)
        if name == target_name or own is None or other is None:
            return name == target_name
        is_found = not other.sentinels and database_of(other.url) in databases
        return is_found or own.shares_keys_with(other)

    return {name: family for name, family in families.items() if is_here(family.redis)}


def keys_of(families: Iterable[StreamFamily]) -> Callable[[bytes], bool]:
    """Return whether a key is one of these families', whatever its type.

    Asks their providers, and keeps 8 bytes of each key that they name. Raises as
    :func:`maintenance.redis.providers.provided_keys`.
    """
    known = tuple(families)
    matches = matcher(family.pattern for family in known if family.pattern)
    named = HashedIds(
        key for family in known if family.provider for key in provided_keys(family.provider)
    )
    return lambda key: matches(key) or key in named


def claims_of(
    name: str, beside: Mapping[str, StreamFamily], *, keys_are_named: bool = False
) -> Claims:
    """Return who else may claim keys of the family ``name``, one of those ``beside``.

    A pattern has a key before a provider that names it as well; of two providers neither has.
    ``keys_are_named`` is where a caller names the keys of this run: patterns alone have them then,
    since asking a provider may take longer than such a trim. Providers are asked here, and of their
    keys 8 bytes each are kept. Raises as :func:`maintenance.redis.providers.provided_keys`.
    """
    family = beside[name]
    return Claims(
        {
            other_name: claims
            for other_name, other in beside.items()
            if other_name != name and other.type == family.type
            for claims in _claims(family, other, keys_are_named=keys_are_named)
        }
    )


def _claims(
    family: StreamFamily, other: StreamFamily, *, keys_are_named: bool
) -> Iterator[Callable[[bytes], bool]]:
    if other.pattern:
        is_named = keys_are_named or bool(family.provider)
        if is_named or common_key(family.pattern, other.pattern) is not None:
            yield matcher([other.pattern])
    elif family.provider and not keys_are_named:
        yield HashedIds(provided_keys(other.provider)).__contains__
