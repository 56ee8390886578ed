"""The site's cache in Redis, in the key shape of Django: `prefix:version:key`.

Cold keys are those that pages expect and nobody has computed; stale ones are left from an earlier
release, another version, or were written without an expiry.
"""

from collections.abc import Iterator
from hashlib import md5
from typing import Final

from django.core.cache.backends.redis import RedisSerializer

from service.sample_site.keyspace import command
from service.sample_site.shape import Shape
from service.sample_site.truth import Decoy, Fault, FaultKind

CURRENT_PREFIX: Final = ":1:"

COLD_KEYS: Final = ("popular_books", "newest_reviews", "reading_languages")
"""Keys that service.sample_site.warmers computes, without prefix and version."""

_ABANDONED_RATINGS: Final = "bookshelf_cache:1:book-rating-"
_FORMER_BOOKS: Final = ":0:popular_books:"
_SIDEBARS: Final = "template.cache.book_sidebar."
_SESSIONS: Final = "django.contrib.sessions.cache"

_DAY_SECONDS: Final = 86_400
_RATING_TTL_SECONDS: Final = 180 * _DAY_SECONDS
_FRAGMENT_TTL_SECONDS: Final = 7 * _DAY_SECONDS
_SESSION_TTL_SECONDS: Final = 365 * _DAY_SECONDS

# Reads at scale 1. There are enough misses to keep the server's ratio below 80 % even after
# maintenance has looked at each of the site's keys several times, since its looks are hits.
_MISSES: Final = 150_000
_HITS: Final = 6_000

_SERIALIZER: Final = RedisSerializer()


class CachePlan:
    """How many keys of each group a build writes."""

    def __init__(self, shape: Shape) -> None:
        self.ratings = shape.rows(4_000)
        self.fragments = shape.rows(1_000)
        self.sessions = shape.rows(600)
        self.abandoned = shape.rows(1_500)
        self.former_version = shape.rows(500)
        self.sidebars = shape.rows(400)
        self.misses = shape.rows(_MISSES)
        self.hits = shape.rows(_HITS)

    def command_count(self) -> int:
        return (
            self.ratings
            + self.fragments
            + self.sessions
            + self.abandoned
            + self.former_version
            + self.sidebars
            + self.misses
            + self.hits
        )

    def commands(self) -> Iterator[bytes]:
        """Write all groups, then read: few keys that are there, many that are not."""
        for number in range(1, self.ratings + 1):
            rating = 0.5 * (2 + number % 9)
            yield _set(f"{CURRENT_PREFIX}book-rating-{number}", rating, _RATING_TTL_SECONDS)
        for number in range(1, self.fragments + 1):
            yield _set(
                f"{CURRENT_PREFIX}template.cache.status.{_digest(number)}",
                f"<article>Status {number}</article>",
                _FRAGMENT_TTL_SECONDS,
            )
        for number in range(1, self.sessions + 1):
            yield _set(
                f"{CURRENT_PREFIX}{_SESSIONS}{_digest(-number)}",
                {"_auth_user_id": str(number)},
                _SESSION_TTL_SECONDS,
            )
        for number in range(1, self.abandoned + 1):
            yield _set(f"{_ABANDONED_RATINGS}{number}", 3.5)
        for number in range(1, self.former_version + 1):
            yield _set(f"{_FORMER_BOOKS}{number}", [number, number + 1])
        for number in range(1, self.sidebars + 1):
            yield _set(
                f"{CURRENT_PREFIX}{_SIDEBARS}{_digest(number)}",
                f"<aside>Ausgabe {number}: Lesetipps</aside>",
            )
        for number in range(self.hits):
            yield command("GET", f"{CURRENT_PREFIX}book-rating-{1 + number % self.ratings}")
        for number in range(self.misses):
            yield command("GET", f"{CURRENT_PREFIX}book-rating-{self.ratings + 1 + number}")

    def faults(self) -> list[Fault]:
        cold = [
            Fault(
                FaultKind.COLD_CACHE_KEY,
                f"{CURRENT_PREFIX}{key}",
                "A page computes it on each visit, since nothing warms it.",
                expected={"exists": False},
            )
            for key in COLD_KEYS
        ]
        stale = [
            Fault(
                FaultKind.STALE_CACHE_KEY,
                pattern,
                why,
                expected={"keys": keys, "keys_without_expiry": keys},
            )
            for pattern, keys, why in (
                (
                    f"{_ABANDONED_RATINGS}*",
                    self.abandoned,
                    "Left by a release with another prefix.",
                ),
                (f"{_FORMER_BOOKS}*", self.former_version, "Left by a former cache version."),
                (f"{CURRENT_PREFIX}{_SIDEBARS}*", self.sidebars, "Written without an expiry."),
            )
        ]
        ratio = Fault(
            FaultKind.LOW_CACHE_HIT_RATIO,
            "keyspace",
            "Readers ask for ratings of books that nobody has rated, which are never cached.",
            expected={"reads": self.hits + self.misses, "reads_missed": self.misses},
        )
        return [*cold, *stale, ratio]

    def decoys(self) -> list[Decoy]:
        return [
            Decoy(
                FaultKind.STALE_CACHE_KEY,
                f"{CURRENT_PREFIX}{_SESSIONS}*",
                "Sessions share the cache's database: dropping them logs every reader out.",
            ),
            Decoy(
                FaultKind.STALE_CACHE_KEY,
                f"{CURRENT_PREFIX}book-rating-*",
                "Current values that expire by themselves.",
            ),
        ]


def _set(key: str, value: object, ttl_seconds: int | None = None) -> bytes:
    """Store a value as Django's Redis backend stores it: pickled, but for integers."""
    stored = _SERIALIZER.dumps(value)
    return command("SET", key, stored, *(("EX", ttl_seconds) if ttl_seconds else ()))


def _digest(number: int) -> str:
    return md5(str(number).encode(), usedforsecurity=False).hexdigest()
