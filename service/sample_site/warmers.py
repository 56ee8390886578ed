"""The warmers of the sample site: what its front page shows, computed before a visitor waits.

maintenance.toml names this module under `hook_modules`; importing it registers the warmers with
the cache target "site". Values go through the target's own serializer, so they are plain data.
"""

from datetime import datetime
from typing import Any, Final

from maintenance.caching.warmers import warmer
from maintenance.conf import configuration
from maintenance.postgres.connection import connect

TARGET: Final = "site"
"""The name of both the database target and the cache target in maintenance.toml."""

HALF_AN_HOUR_SECONDS: Final = 1_800
"""How long the guide keeps popular books: `cache.set(cache_key, books, 60 * 30)`."""

_POPULAR_BOOKS: Final = """
    SELECT e.id, e.title, count(*)
    FROM public.library_shelfbook AS s
    JOIN public.library_edition AS e ON e.id = s.edition_id
    GROUP BY e.id, e.title
    ORDER BY count(*) DESC, e.id
    LIMIT 100
"""

_NEWEST_REVIEWS: Final = """
    SELECT s.id, u.name, s.content, s.rating, s.published_date
    FROM public.library_status AS s
    JOIN public.library_user AS u ON u.id = s.user_id
    WHERE s.status_type = 'Review' AND s.privacy = 'public' AND NOT s.deleted
    ORDER BY s.published_date DESC
    LIMIT 50
"""

_READING_LANGUAGES: Final = """
    SELECT preferred_language, count(*)
    FROM public.library_user
    WHERE is_active
    GROUP BY preferred_language
    ORDER BY preferred_language
"""


def _rows(query: str, purpose: str) -> list[tuple[Any, ...]]:
    with (
        connect(configuration().database(TARGET), purpose=purpose) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return cursor.fetchall()


@warmer(key="popular_books", cache=TARGET, ttl_seconds=HALF_AN_HOUR_SECONDS)
def popular_books() -> list[dict[str, int | str]]:
    """The hundred books that stand on most shelves."""
    return [
        {"id": edition, "title": title, "shelves": shelves}
        for edition, title, shelves in _rows(_POPULAR_BOOKS, "warm popular_books")
    ]


@warmer(key="newest_reviews", cache=TARGET, ttl_seconds=HALF_AN_HOUR_SECONDS)
def newest_reviews() -> list[dict[str, int | float | str | None]]:
    """The fifty newest public reviews with their readers' names."""
    return [_review(*row) for row in _rows(_NEWEST_REVIEWS, "warm newest_reviews")]


def _review(
    status: int, reader: str, content: str, rating: float | None, published: datetime
) -> dict[str, int | float | str | None]:
    return {
        "id": status,
        "reader": reader,
        "content": content,
        "rating": None if rating is None else float(rating),
        "published_at": published.isoformat(),
    }


@warmer(key="reading_languages", cache=TARGET, ttl_seconds=HALF_AN_HOUR_SECONDS)
def reading_languages() -> dict[str, int]:
    """How many active readers prefer each language."""
    return dict(_rows(_READING_LANGUAGES, "warm reading_languages"))
