"""Which keys a warmer of many wrote: a note beside the site's own keys, for the runs before expiry.

The keys of such a warmer are known only once its values have been computed. So that a run may see,
without computing, whether they are all there and for how long, the run before it notes some of them.
"""

import json
import logging
import random
from collections.abc import Sequence
from hashlib import sha256

import redis

from maintenance.caching.backend import OpenCache
from maintenance.caching.stored_writes import TTL_JITTER_RATIO
from maintenance.caching.warmed_groups import GroupVersions
from maintenance.caching.warmers import Warmer
from maintenance.core.redaction import redact

logger = logging.getLogger("maintenance.caching")

#: A note names all keys of most warmers, and of very many so many: if a hundredth of those is gone,
#: a run misses it once in 23,000 times. Some 50 kB.
NOTED_KEYS = 1000

_NOTE = "maintenance-warmed:{}"


def note_keys(cache: OpenCache, one: Warmer, keys: Sequence[str], versions: GroupVersions) -> None:
    """Note ``keys``, all of which have just been written at these versions of their groups.

    The note goes when the first of them may expire. A server that refuses it is logged: the next run
    computes the values anew, and nothing is lost.
    """
    if cache.client is None:
        return  # nothing else tells there how long a value stays
    noted = keys if len(keys) <= NOTED_KEYS else random.sample(keys, NOTED_KEYS)
    shortest_ms = one.ttl_seconds * (1 - TTL_JITTER_RATIO) * 1000
    try:
        cache.client.set(
            cache.stored_key(_note_of(one)),
            json.dumps([versions.prefix, dict(versions.tags), [str(key) for key in noted]]),
            px=max(1, int(shortest_ms)),
        )
    except redis.ResponseError as error:
        logger.warning(
            "What %s wrote was not noted (%s): its values will be computed by the next run, whether"
            " they expire or not.",
            *(one.name, redact(str(error))),
        )


def forget_keys(cache: OpenCache, one: Warmer) -> None:
    """Forget what was noted, for some of the keys may not be there: the next run computes them."""
    if cache.client is not None:
        cache.client.delete(cache.stored_key(_note_of(one)))


def noted_keys(cache: OpenCache, one: Warmer, versions: GroupVersions) -> list[str]:
    """Return the keys that say how long the warmer's values stay: some of them, and the note.

    Empty where nothing is noted, or was noted at other versions of its groups.
    """
    found = None if cache.client is None else cache.client.get(cache.stored_key(_note_of(one)))
    match json.loads(found) if found else None:
        case [versions.prefix, dict() as tags, list() as keys] if tags == versions.tags:
            return [_note_of(one), *keys]
        case _:
            return []


def _note_of(one: Warmer) -> str:
    """Return the key of a warmer's note; its name may have what a key must not."""
    return _NOTE.format(sha256(one.name.encode()).hexdigest()[:16])
