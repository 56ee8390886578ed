"""Which keys are those of a cache of Django, among all that look alike. Pure.

Django writes prefix, version and key with colons between them (Django documentation, "Cache key
transformation"), and so do sites of their own accord: ``user:42:profile`` has the form as well. What tells
them apart is that a cache has many keys of one version, and a kind of keys has many numbers.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from maintenance.attach.look import RedisSeen

#: Fewer keys of a sample may have the form by chance.
FEWEST_KEYS = 5
#: A site raises its version now and then, and the older one lives on until its keys time out.
MOST_VERSIONS = 3

#: Prefix, version, sampled keys.
CacheSeen = tuple[str, int, int]


def caches_of(seen: RedisSeen) -> Sequence[CacheSeen]:
    """Return the caches on a server, that with most sampled keys first."""
    versions = Counter(prefix for prefix, _, _ in seen.prefixes)
    likely = [
        one for one in seen.prefixes if one[2] >= FEWEST_KEYS and versions[one[0]] <= MOST_VERSIONS
    ]
    return list(_without_their_parts(likely))


def _without_their_parts(likely: Sequence[CacheSeen]) -> Iterator[CacheSeen]:
    """Leave out what is a part of others' keys: of ``shop:1:user:7:page`` that is ``shop:1:user``.

    Where all keys of one are keys of the other, that with Django's own version 1 is the cache.
    """
    begins: list[str] = []
    for prefix, version, keys in sorted(
        likely, key=lambda one: (-one[2], one[1] != 1, len(one[0]), one[:2])
    ):
        begin = f"{prefix}:{version}:"
        if any(begin.startswith(other) or other.startswith(begin) for other in begins):
            continue
        begins.append(begin)
        yield prefix, version, keys
