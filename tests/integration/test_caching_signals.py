"""Models that drop what they make stale: on real transactions of PostgreSQL, on a real cache."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache, caches
from django.db import connection, connections, models, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.test import override_settings
from django.test.utils import CaptureQueriesContext, isolate_apps

from maintenance.caching import stale as stale_module
from maintenance.caching import warm_after
from maintenance.caching.namespaces import Namespace
from maintenance.caching.querysets import InvalidatingQuerySet
from maintenance.caching.signals import ModelRule, forget, invalidates, rules
from maintenance.caching.stale import (
    ainvalidate,
    invalidate,
    invalidate_on_commit,
    invalidation_counts,
)
from maintenance.caching.tags import Tag, tagged_get, tagged_set
from maintenance.caching.warmers import unregister, warmer
from maintenance.checks import check_invalidation_rules
from maintenance.core.errors import ConfigurationError
from service.embedded.valkey import EmbeddedValkey
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.django_db(transaction=True)

with isolate_apps("tests.testapp"):

    class Genre(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label, db_table = "testapp", "stale_genre"

        def __str__(self) -> str:
            return self.name

    class Book(models.Model):
        title = models.CharField(max_length=20)
        genres = models.ManyToManyField(Genre, related_name="books")

        class Meta:
            app_label, db_table = "testapp", "stale_book"

        def __str__(self) -> str:
            return self.title

    class Edition(Book):
        year = models.IntegerField(default=2026)

        class Meta:
            app_label, db_table = "testapp", "stale_edition"

    class LoudBook(Book):
        class Meta:
            app_label, proxy = "testapp", True

    class Review(models.Model):
        book = models.ForeignKey(Book, models.CASCADE)
        text = models.CharField(max_length=20, blank=True)
        objects = InvalidatingQuerySet.as_manager()

        class Meta:
            app_label, db_table = "testapp", "stale_review"

        def __str__(self) -> str:
            return self.text

    class Note(models.Model):
        book = models.ForeignKey(Book, models.SET_NULL, null=True, related_name="notes")
        objects = InvalidatingQuerySet.as_manager()

        class Meta:
            app_label, db_table, base_manager_name = "testapp", "stale_note", "objects"

        def __str__(self) -> str:
            return str(self.pk)

    class Reader(models.Model):
        name = models.CharField(max_length=20)
        follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")

        class Meta:
            app_label, db_table = "testapp", "stale_reader"

        def __str__(self) -> str:
            return self.name


TABLES = (Genre, Book, Edition, Review, Note, Reader)


@pytest.fixture(scope="module")
def tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        for model in TABLES:
            editor.create_model(model)
    yield
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        for model in reversed(TABLES):
            editor.delete_model(model)


@pytest.fixture(autouse=True)
def site(tables: None, redis_url: str) -> Iterator[None]:
    """Empty tables, and the site's caches on an empty server."""
    redis_backend = "django.core.cache.backends.redis.RedisCache"
    with override_settings(
        CACHES={
            "default": {"BACKEND": redis_backend, "LOCATION": redis_url, "KEY_PREFIX": "site"},
            "down": {"BACKEND": redis_backend, "LOCATION": "redis://127.0.0.1:1/0"},
        }
    ):
        stale_module._memories.clear()
        yield
    with connection.cursor() as cursor:
        names = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in TABLES)
        cursor.execute(f"TRUNCATE {names} CASCADE")


@pytest.fixture
def declare() -> Iterator[Callable[..., ModelRule]]:
    """Call it as ``invalidates``; rules are taken back after the test."""
    made: list[ModelRule] = []

    def declare(*arguments: Any, **options: Any) -> ModelRule:
        made.append(invalidates(*arguments, **options))
        return made[-1]

    yield declare
    for rule in set(made) & set(rules()):
        forget(rule)


def stale(*keys: str) -> set[str]:
    """Return those of ``keys`` that are no longer cached; all are cached anew."""
    gone = set(keys) - set(cache.get_many(keys))
    cache.set_many(dict.fromkeys(keys, "cached"))
    return gone


def rolled_back(work: Callable[[], Any]) -> None:
    """Do the work in a transaction, or a savepoint, that is rolled back."""
    with transaction.atomic():
        work()
        transaction.set_rollback(True)


# --- The guide's section, as printed and as one line ----------------------------------------------


def test_the_guide_as_printed_and_as_one_line_drop_the_same(
    declare: Callable[..., ModelRule],
) -> None:
    book = Book.objects.create(title="a")
    keys = (f"book_reviews_{book.pk}", "popular_books")

    @receiver(post_save, sender=Review)
    def invalidate_book_cache(sender: Any, instance: Any, **kwargs: Any) -> None:
        cache_key = f"book_reviews_{instance.book_id}"
        cache.delete(cache_key)

        # Invalidate related caches
        cache.delete("popular_books")

    stale(*keys)
    Review.objects.create(book=book)
    assert stale(*keys) == set(keys)
    post_save.disconnect(invalidate_book_cache, sender=Review)

    declare(Review, lambda review: [f"book_reviews_{review.book_id}", "popular_books"])
    Review.objects.create(book=book)
    assert stale(*keys) == set(keys)


# --- When ----------------------------------------------------------------------------------------


def test_nothing_is_dropped_before_the_commit_nor_after_a_rollback(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Book, lambda book: ["books", book.title])
    stale("books", "a", "b", "c")
    with transaction.atomic():
        Book.objects.create(title="a")
        assert cache.get("books") == "cached"
        rolled_back(lambda: Book.objects.create(title="b"))
    assert stale("books", "a", "b") == {"books", "a"}
    rolled_back(lambda: Book.objects.create(title="c"))
    Book.objects.create(title="a")
    assert stale("books", "a", "c") == {"books", "a"}


def test_many_saves_in_one_transaction_are_one_write_to_the_cache(
    declare: Callable[..., ModelRule], valkey_server: EmbeddedValkey
) -> None:
    declare(Book, lambda book: ["books", book.title])
    client = caches["default"]._cache.get_client(None, write=True)
    with transaction.atomic():
        for number in range(300):
            Book.objects.create(title=str(number))
        client.config_resetstat()
    calls = {name: entry["calls"] for name, entry in client.info("commandstats").items()}
    assert calls["cmdstat_del"] == 1
    assert invalidation_counts().dropped == 301


# --- What ----------------------------------------------------------------------------------------


def test_a_review_that_moves_to_another_book_drops_the_keys_of_both(
    declare: Callable[..., ModelRule],
) -> None:
    one, two = (Book.objects.create(title=title) for title in "ab")
    declare(Review, lambda review: [f"reviews_{review.book_id}"])
    review = Review.objects.create(book=one)
    keys = (f"reviews_{one.pk}", f"reviews_{two.pk}")
    stale(*keys)
    review.book = two
    review.save(update_fields=["book"])
    assert stale(*keys) == set(keys)
    review.save()
    assert stale(*keys) == {f"reviews_{two.pk}"}


def test_several_rules_of_a_model_share_one_look_at_the_old_row(
    declare: Callable[..., ModelRule], django_assert_num_queries: Any
) -> None:
    book = Book.objects.create(title="a")
    for number in range(3):
        declare(Book, lambda book, number=number: [f"{number}_{book.title}"])
    book.title = "b"
    keys = [f"{number}_{title}" for number in range(3) for title in "ab"]
    stale(*keys)
    with django_assert_num_queries(2):
        book.save()
    assert stale(*keys) == set(keys)


def test_without_a_look_at_the_old_row_a_save_asks_the_database_nothing_more(
    declare: Callable[..., ModelRule], django_assert_num_queries: Any
) -> None:
    book = Book.objects.create(title="a")
    declare(Book, lambda _: ["books"], look_at_old_row=False)
    with django_assert_num_queries(1):
        book.save()
    with django_assert_num_queries(1):
        Book.objects.create(title="b")


def test_deletions_of_objects_of_querysets_and_in_a_cascade_are_covered(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Review, lambda review: [f"review_{review.text}"])
    book = Book.objects.create(title="a")
    for text in "abcd":
        Review.objects.create(book=book, text=text)
    stale(*(f"review_{text}" for text in "abcd"))
    Review.objects.get(text="a").delete()
    assert stale("review_a", "review_b") == {"review_a"}
    Review.objects.filter(text="b").delete()
    assert stale("review_b", "review_c") == {"review_b"}
    book.delete()
    assert stale("review_c", "review_d") == {"review_c", "review_d"}


def test_children_and_proxies_count_as_the_model(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Book, lambda book: [f"book_{book.title}"])
    stale("book_child", "book_proxy")
    Edition.objects.create(title="child")
    LoudBook.objects.create(title="proxy")
    assert stale("book_child", "book_proxy") == {"book_child", "book_proxy"}


def test_many_to_many_relations_are_covered_from_either_side(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Book, lambda book: [f"book_{book.title}"])
    declare(Genre, lambda genre: [f"genre_{genre.name}"])
    a, b = (Book.objects.create(title=title) for title in "ab")
    genre = Genre.objects.create(name="g")
    keys = ("book_a", "book_b", "genre_g")
    changes: list[tuple[Callable[[], Any], set[str]]] = [
        (lambda: a.genres.add(genre), {"book_a", "genre_g"}),
        (lambda: genre.books.add(b), {"book_b", "genre_g"}),
        (lambda: a.genres.remove(genre), {"book_a", "genre_g"}),
        (lambda: genre.books.set([a, b]), {"book_a", "genre_g"}),
        (genre.books.clear, {"book_a", "book_b", "genre_g"}),
        (lambda: a.genres.set([genre]), {"book_a", "genre_g"}),
        (a.genres.clear, {"book_a", "genre_g"}),
        (b.genres.clear, {"book_b"}),
    ]
    stale(*keys)
    for number, (change, expected) in enumerate(changes):
        change()
        assert stale(*keys) == expected, number


def test_objects_that_lose_a_relation_by_a_deletion_are_covered(
    declare: Callable[..., ModelRule],
) -> None:
    rule = declare(Book, lambda book: [f"book_{book.title}"])
    keys = ("book_a", "book_b", "book_c", "book_d")
    a, b, c, d = (Edition.objects.create(title=title) for title in "abcd")
    lone, *many = (Genre.objects.create(name=name) for name in "ghi")
    lone.books.add(a)
    many[0].books.add(b)
    many[1].books.add(b, c)
    stale(*keys)
    rolled_back(Genre.objects.get(name="g").delete)
    assert stale(*keys) == set()
    lone.delete()
    assert stale(*keys) == {"book_a"}
    Genre.objects.all().delete()
    assert stale(*keys) == {"book_b", "book_c"}
    declare(Genre, lambda genre: [f"genre_{genre.name}"])
    forget(rule)
    Genre.objects.create(name="j").books.add(d)
    stale(*keys, "genre_j")
    Book.objects.get(pk=d.pk).delete()
    assert stale(*keys, "genre_j") == {"genre_j"}


def test_both_sides_of_a_relation_of_a_model_to_itself_are_covered(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Reader, lambda reader: [f"reader_{reader.name}"])
    a, b, c = (Reader.objects.create(name=name) for name in "abc")
    keys = ("reader_a", "reader_b", "reader_c")
    a.follows.add(b)
    b.follows.add(c)
    stale(*keys)
    b.delete()
    assert stale(*keys) == set(keys)


def test_a_deletion_asks_nothing_more_once_its_rules_are_forgotten(
    declare: Callable[..., ModelRule],
) -> None:
    def queries_of_a_deletion() -> int:
        genre = Genre.objects.create(name="a")
        with CaptureQueriesContext(connection) as asked:
            genre.delete()
        return len(asked)

    before = queries_of_a_deletion()
    rule = declare(Book, lambda _: [])
    assert queries_of_a_deletion() == before + 1  # which books lose it
    forget(rule)
    assert queries_of_a_deletion() == before


def test_tags_and_namespaces_are_dropped_like_keys(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Book, lambda _: [Tag("books"), Namespace("shelves"), "popular_books"])
    tagged_set(cache, "page", "html", tags=["books"], ttl_seconds=60)
    Namespace("shelves").generation(cache).set("1", "html", ttl_seconds=60)
    stale("popular_books")
    Book.objects.create(title="a")
    assert tagged_get(cache, "page") is None
    assert Namespace("shelves").generation(cache).get("1") is None
    assert stale("popular_books") == {"popular_books"}


def test_a_warmer_of_a_dropped_key_is_asked_for_after_the_commit(
    declare: Callable[..., ModelRule], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(warm_after, "_starts", [])
    warm_after.start_with(lambda name, names: asked.append((name, [*names])))
    warmer(ttl_seconds=60, key="popular_books", cache="pages", name="popular")(lambda: 1)
    try:
        declare(Book, lambda _: ["popular_books"])
        with override_settings(MAINTENANCE={"caches": {"pages": {"alias": "default"}}}):
            rolled_back(lambda: Book.objects.create(title="a"))
            assert asked == []
            for title in "bc":
                Book.objects.create(title=title)
            assert asked == [("pages", ["popular"])]
    finally:
        unregister("pages", "popular")


def test_one_key_alone_is_no_list_of_letters(declare: Callable[..., ModelRule]) -> None:
    declare(Book, lambda _: "ab")
    stale("ab", "a", "b")
    Book.objects.create(title="a")
    assert stale("ab", "a", "b") == {"ab"}


# --- Bulk ----------------------------------------------------------------------------------------


def test_bulk_operations_are_covered_by_the_queryset(
    declare: Callable[..., ModelRule],
) -> None:
    one, two = (Book.objects.create(title=title) for title in "ab")
    keys = (f"reviews_{one.pk}", f"reviews_{two.pk}")
    declare(Review, lambda review: [f"reviews_{review.book_id}"])
    stale(*keys)
    reviews = Review.objects.bulk_create([Review(book=one), Review(book=one)])
    assert stale(*keys) == {keys[0]}
    assert Review.objects.filter(book=one).update(book=two) == 2
    assert stale(*keys) == set(keys)
    for review in reviews:
        review.book = one
    Review.objects.bulk_update(reviews, ["book"])
    assert stale(*keys) == set(keys)
    rolled_back(lambda: Review.objects.update(text="x"))
    assert stale(*keys) == set()
    async_to_sync(Review.objects.filter(pk=reviews[0].pk).aupdate)(book=two)
    assert stale(*keys) == set(keys)


def test_reverse_foreign_keys_are_covered_where_the_base_manager_has_the_queryset(
    declare: Callable[..., ModelRule],
) -> None:
    one, two = (Book.objects.create(title=title) for title in "ab")
    keys = (f"notes_{one.pk}", f"notes_{two.pk}")
    declare(Note, lambda note: [f"notes_{note.book_id}"])
    note = Note.objects.create(book=one)
    stale(*keys)
    two.notes.add(note)
    assert stale(*keys) == set(keys)
    two.notes.clear()
    assert stale(*keys) == {keys[1]}


def test_a_rule_for_bulk_operations_asks_no_row(
    declare: Callable[..., ModelRule], django_assert_num_queries: Any
) -> None:
    book = Book.objects.create(title="a")
    declare(Review, lambda review: [f"reviews_{review.book_id}"], bulk=[Tag("reviews")])
    tagged_set(cache, "page", "html", tags=["reviews"], ttl_seconds=60)
    with django_assert_num_queries(1):
        Review.objects.filter(book=book).update(text="x")
    assert tagged_get(cache, "page") is None


def test_what_a_reader_stores_within_a_bulk_update_is_dropped_after_it(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Review, lambda _: [], bulk=[Tag("reviews")])

    def read_old_rows(execute: Callable[..., Any], *statement: Any) -> Any:
        tagged_set(cache, "page", "old rows", tags=["reviews"], ttl_seconds=60)
        return execute(*statement)

    with connection.execute_wrapper(read_old_rows):
        Review.objects.update(text="x")
    assert tagged_get(cache, "page") is None


def test_raw_sql_says_itself_what_is_stale() -> None:
    stale("popular_books")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Book._meta.db_table} SET title = 'x'")
        invalidate_on_commit(["popular_books"], using="default")
        assert cache.get("popular_books") == "cached"
    assert stale("popular_books") == {"popular_books"}


def test_a_check_names_models_whose_bulk_operations_are_not_covered(
    declare: Callable[..., ModelRule],
) -> None:
    declare(Review, lambda _: [])
    declare(Book, lambda _: [])
    declare(Book, lambda _: [], cache="defualt")
    found = check_invalidation_rules(None)
    assert [(one.id, one.obj) for one in found] == [
        ("maintenance.E005", Book),
        ("maintenance.I001", Book),
    ]
    assert 'Did you mean "default"' in found[0].msg


# --- Sync and async, faults ----------------------------------------------------------------------


def test_asynchronous_code_is_covered(declare: Callable[..., ModelRule]) -> None:
    declare(Book, lambda book: [f"book_{book.title}"])
    stale("book_a", "other", "third")

    async def work() -> None:
        book = await Book.objects.acreate(title="a")
        await book.asave()
        await ainvalidate("other")

    async_to_sync(work)()
    assert stale("book_a", "other", "third") == {"book_a", "other"}
    invalidate("third")
    assert stale("third") == {"third"}


def test_a_cache_that_is_down_fails_no_transaction_and_is_caught_up_with(
    declare: Callable[..., ModelRule],
    caplog: pytest.LogCaptureFixture,
    server_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stale_module, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(stale_module, "LONGEST_PAUSE_SECONDS", 0.1)
    declare(Book, lambda book: [f"book_{book.title}"], cache="down")
    with transaction.atomic():
        Book.objects.create(title="a")
    Book.objects.create(title="b")
    assert Book.objects.count() == 2
    counts = invalidation_counts("down")
    assert (counts.dropped, counts.failed, counts.waiting, counts.lost) == (0, 2, 2, 0)
    assert "2 keys will" not in caplog.text
    assert "1 key will be dropped when it is back: book_a" in caplog.text
    with EmbeddedValkey(server_root / "came-back", "secret", settings={"appendonly": "no"}) as back:
        backend = "django.core.cache.backends.redis.RedisCache"
        with override_settings(CACHES={"down": {"BACKEND": backend, "LOCATION": back.url()}}):
            caches["down"].set_many({"book_a": 1, "book_b": 1, "other": 1})
            eventually(
                lambda: invalidation_counts("down").waiting == 0,
                seconds=20,
                what="the remembered keys are dropped",
            )
            assert set(caches["down"].get_many(["book_a", "book_b", "other"])) == {"other"}
            thread = stale_module._memories["down"].thread
            eventually(
                lambda: thread is None or not thread.is_alive(), seconds=10, what="the thread ends"
            )


def test_what_does_not_fit_into_the_memory_is_named_as_lost(
    declare: Callable[..., ModelRule],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stale_module, "REMEMBERED_KEYS", 3)
    declare(Book, lambda _: ["a", "b", "c", "d", "e"], cache="down")
    Book.objects.create(title="a")
    counts = invalidation_counts("down")
    assert (counts.waiting, counts.lost) == (3, 2)
    assert "2 keys of cache down stay stale until their time-out" in caplog.text
    stale_module._memories["down"].keys.clear()


def test_a_rule_that_raises_is_logged_and_counted_and_the_others_hold(
    declare: Callable[..., ModelRule], caplog: pytest.LogCaptureFixture
) -> None:
    declare(Book, lambda book: [book.no_such_field])
    declare(Book, lambda book: [f"book_{book.title}"])
    stale("book_a")
    with caplog.at_level(logging.ERROR):
        Book.objects.create(title="a")
    assert stale("book_a") == {"book_a"}
    assert invalidation_counts().broken == 1
    assert "no_such_field" in caplog.text


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a model class, got 'Book'"):
        invalidates("Book", lambda _: [])  # type: ignore[arg-type]


def test_the_transaction_of_the_right_database_decides(
    declare: Callable[..., ModelRule], make_database: Callable[[], str]
) -> None:
    url = make_database()
    ask(url, f"CREATE TABLE {Genre._meta.db_table} (id bigserial PRIMARY KEY, name text)")
    other = {**connections["default"].settings_dict, "NAME": url.rpartition("/")[2]}
    connections.databases["other"] = other
    # pytest-django forbids connections to aliases that come up within a test.
    connections["other"].connect()
    connections["other"].ensure_connection = lambda: None
    try:
        declare(Genre, lambda genre: [f"genre_{genre.name}"])
        stale("genre_a", "genre_b")
        with transaction.atomic():
            Genre.objects.using("other").create(name="a")
            assert stale("genre_a") == {"genre_a"}  # committed there, open here
            Genre.objects.create(name="b")
            assert stale("genre_b") == set()
        assert stale("genre_b") == {"genre_b"}
    finally:
        connections["other"].close()
        del connections.databases["other"], connections["other"]
