"""Keys and groups of cached values, named side by side."""

from collections.abc import Iterable

from maintenance.caching.namespaces import Namespace
from maintenance.caching.tags import Tag

#: Values that go stale together.
Group = Tag | Namespace
#: A key as the site writes it, or a group of values.
Stale = str | Group


def keys_of(stale: Stale | Iterable[Stale]) -> list[str]:
    """Return the keys whose removal drops ``stale``: a group goes with the key of its version.

    One key alone is taken as such, and not as its letters.
    """
    if isinstance(stale, str | Tag | Namespace):
        stale = [stale]
    keys = (one if isinstance(one, str) else one.version_key for one in stale)
    return list(dict.fromkeys(keys))
