"""How the values of a warmer stand in its groups: under a namespace's version, with those of tags.

They are stored as :func:`~maintenance.caching.tags.tagged_set` and
:class:`~maintenance.caching.namespaces.Generation` store them, so that the site's readers find them.
"""

import pickle
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.core.cache.backends.base import BaseCache

from maintenance.caching.instrumented import Instrumented
from maintenance.caching.namespaces import Namespace
from maintenance.caching.tags import has_versions, tag_key, tag_versions
from maintenance.caching.warmers import Warmer

#: Values that are read at once to see their versions: they may be large.
VALUES_PER_LOOK = 100

#: What a backend raises for a stored value that it cannot read any more.
_UNREADABLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class GroupVersions:
    """The versions of a warmer's groups at one moment: what keys begin with, and those of its tags.

    Without groups both are empty, and keys and values are stored as they are.
    """

    prefix: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def stored(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values by key as the cache has them."""
        if not self.prefix and not self.tags:
            return values
        tags = dict(self.tags)
        return {
            f"{self.prefix}{key}": (tags, value) if tags else value for key, value in values.items()
        }

    def current(self, cache: BaseCache, keys: Sequence[str]) -> set[str]:
        """Return those of the stored ``keys`` that a reader does not take for a miss.

        Where one cannot be read, its neighbours count as missing, too: they are written anew.
        """
        if not self.tags:
            return set(keys)
        found: set[str] = set()
        for start in range(0, len(keys), VALUES_PER_LOOK):
            try:
                with _uncounted(cache):
                    values = cache.get_many(keys[start : start + VALUES_PER_LOOK])
            except _UNREADABLE:
                continue
            found.update(key for key, value in values.items() if has_versions(value, self.tags))
        return found


def take_versions(one: Warmer, cache: BaseCache) -> GroupVersions:
    """Return the present versions; a group that has none gets one.

    Take them before the values are computed: a change that comes in between then makes what is
    stored a miss. Raises what the cache raises.
    """
    with _uncounted(cache):
        prefix = Namespace(one.namespace).generation(cache).prefix if one.namespace else ""
        return GroupVersions(prefix, tag_versions(cache, one.tags) if one.tags else {})


def present_versions(one: Warmer, cache: BaseCache) -> GroupVersions:
    """Return the present versions to compare with and write nothing: what no group has is at none.

    Raises what the cache raises.
    """
    with _uncounted(cache):
        space = Namespace(one.namespace)
        prefix = space.present_generation(cache).prefix if one.namespace else ""
        found = cache.get_many([tag_key(tag) for tag in one.tags]) if one.tags else {}
    return GroupVersions(prefix, {tag: found.get(tag_key(tag), "") for tag in one.tags})


def _uncounted(cache: BaseCache) -> AbstractContextManager[None]:
    """Keep what a warmer looks at from counting as asked for by visitors."""
    return cache.uncounted() if isinstance(cache, Instrumented) else nullcontext()
