"""Data of the first client's shape: a social site's tables, streams, counters beside them, old caches, queues."""

import random

import redis

from tests.postgres_clients import ask

USERS = 60
LIMITS = {"home": 200, "local": 200, "books": 200, "lists": 200, "suggestions": 30}
NEWEST = 1_790_000_000

_TABLES = """
CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text, applied timestamptz);
CREATE TABLE bookwyrm_user (
    id serial PRIMARY KEY, localname text, local bool, is_active bool, is_deleted bool,
    last_active_date timestamptz
);
CREATE TABLE bookwyrm_book (id serial PRIMARY KEY, title text, cover text);
CREATE TABLE bookwyrm_edition (book_ptr_id int PRIMARY KEY REFERENCES bookwyrm_book, isbn_13 text);
CREATE TABLE bookwyrm_status (
    id serial PRIMARY KEY, user_id int REFERENCES bookwyrm_user, content text,
    published_date timestamptz, thread_id int, deleted bool
);
CREATE INDEX ON bookwyrm_status (thread_id);
CREATE TABLE bookwyrm_shelfbook (id serial PRIMARY KEY, book_id int REFERENCES bookwyrm_book);
INSERT INTO bookwyrm_user (localname, local, is_active, is_deleted)
    SELECT 'u' || n, true, n % 5 > 0, false FROM generate_series(1, 60) AS n;
INSERT INTO bookwyrm_book (title) SELECT md5(n::text) FROM generate_series(1, 3000) AS n;
INSERT INTO bookwyrm_edition SELECT id, id::text FROM bookwyrm_book;
INSERT INTO bookwyrm_status (user_id, content, published_date, deleted)
    SELECT 1 + n % 60, repeat(md5(n::text), 4), now(), false FROM generate_series(1, 20000) AS n;
UPDATE bookwyrm_status SET thread_id = id;
"""


def fill_database(url: str) -> None:
    """Make the tables that say what it is; a status is saved twice, as the site does."""
    ask(url, _TABLES)


def fill_streams(client: redis.Redis) -> dict[bytes, dict[bytes, float]]:
    """Fill the activity server; return the streams as they should come out of a trim, by key.

    A healthy stream is one short of its limit; those of deactivated users are over it.
    """
    choose = random.Random(4)
    kept: dict[bytes, dict[bytes, float]] = {}
    pipeline = client.pipeline(transaction=False)
    for user in range(1, USERS + 1):
        for name, limit in LIMITS.items():
            key = f"{user}-{name}"
            length = choose.choice([limit - 1, limit - 1, limit, limit + 1, 2 * limit])
            members = {b"%d" % (9000 + n): _score(name, n, choose) for n in range(length)}
            pipeline.zadd(key, members)
            ordered = sorted(members, key=lambda m: (members[m], m))[-limit:]
            kept[key.encode()] = {member: members[member] for member in ordered}
            if name != "suggestions":
                pipeline.set(f"{key}-unread", choose.randrange(300))
                pipeline.hset(f"{key}-unread-by-type", mapping={"Review": 3, "Comment": 250})
    for number in range(40):
        pipeline.set(f":1:template.cache.home.{number}-home.x", "page")
        pipeline.set(f"django_cache:1:book-rating-{number}", "4.5", ex=15_552_000)
    pipeline.set("django_cache:1:5-home", "a cached page, whose key ends as a stream's does")
    pipeline.execute()
    return kept


def _score(name: str, place: int, choose: random.Random) -> float:
    """Publishing dates for statuses and lists; for suggestions how many friends are shared."""
    return choose.randrange(5) if name == "suggestions" else NEWEST - place * choose.randrange(90)


def fill_broker(client: redis.Redis) -> None:
    """Declare the queues as its workers do, and let messages wait in one of them."""
    for queue in (
        "high_priority",
        "medium_priority",
        "low_priority",
        "streams",
        "inbox",
        "imports",
    ):
        client.sadd(f"_kombu.binding.{queue}", f"{queue}\x06\x16\x06\x16{queue}")
    client.sadd("_kombu.binding.celery.pidbox", "\x06\x16\x06\x16celery@host.celery.pidbox")
    client.rpush("inbox", *(f'{{"properties": {{"delivery_tag": "{n}"}}}}' for n in range(7)))
