"""The profiling middleware on a real PostgreSQL: what it finds, and that it harms nothing."""

import asyncio
import inspect
import json
import logging
import logging.config
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import signals
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import AsyncClient, Client, override_settings

from maintenance.tasks.query_profiling import profile_tasks
from maintenance.web import performance_logging
from maintenance.web.logger_names import REQUEST_LOGGER, TASK_LOGGER
from tests.testapp import views
from tests.testapp.models import Author, Book, Note
from tests.testapp.tasks import list_books

pytestmark = pytest.mark.django_db(transaction=True)

BOOKS = 12
MIDDLEWARE = "maintenance.web.query_profiler.QueryProfilingMiddleware"


def line(text: str, function: Any) -> str:
    """Return file and line of the line in a function that has this text."""
    lines, first = inspect.getsourcelines(function)
    (found,) = (number for number, code in enumerate(lines, first) if text in code)
    return f"tests/testapp/views.py:{found}"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The guide's LOGGING with another file name, read back line by line."""
    path = tmp_path / "performance.log"
    logging.config.dictConfig(guide_logging(path))
    performance_logging._allowance = performance_logging._Allowance()
    profiled = {
        "ENABLE_QUERY_PROFILING": True,
        "QUERY_PROFILE_THRESHOLD_MS": 1000,
        "QUERY_COUNT_THRESHOLD": 50,
        "MIDDLEWARE": [*settings.MIDDLEWARE, MIDDLEWARE],
    }
    with override_settings(**profiled):
        yield lambda: [json.loads(text) for text in path.read_text().splitlines()]
    for name in (REQUEST_LOGGER, TASK_LOGGER):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


def guide_logging(path: Path) -> dict[str, Any]:
    performance = {"level": "INFO", "class": "logging.FileHandler", "filename": str(path)}
    logger = {"handlers": ["performance"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"performance": performance},
        "loggers": {
            "bookwyrm.middleware.query_profiler": logger,
            "bookwyrm.utils.performance": logger,
        },
    }


@pytest.fixture
def shelf() -> None:
    """Twelve books of six authors, notes on them, users in groups."""
    authors = Author.objects.bulk_create(Author(name=f"Author {n}") for n in range(6))
    books = Book.objects.bulk_create(
        Book(title=f"Book {n}", author=authors[n % 6]) for n in range(BOOKS)
    )
    kind = ContentType.objects.get_for_model(Book)
    Note.objects.bulk_create(Note(content_type=kind, object_id=str(b.pk)) for b in books)
    group = Group.objects.create(name="readers")
    users = User.objects.bulk_create(User(username=f"reader-{n}") for n in range(BOOKS))
    for user in users:
        user.groups.add(group)


@pytest.mark.usefixtures("shelf")
def test_the_planted_n_plus_one_is_named_with_its_line(log: Any) -> None:
    assert Client().get("/books/").status_code == 200

    (profile,) = log()
    assert profile["kind"] == "request"
    assert (profile["name"], profile["view"], profile["status"]) == (
        "GET books/",
        "tests.testapp.views.book_list",
        200,
    )
    assert profile["queries"] == BOOKS + 1
    repeated = [group for group in profile["groups"] if group["is_repeated"]]
    (group,) = repeated
    assert group["calls"] == group["rows"] == BOOKS
    assert group["at"] == group["from"] == line("book.author.name", views.book_list)
    lookup = group["lookup"]
    assert (lookup["relation"], lookup["model"], lookup["field"]) == (
        "foreign key",
        "testapp.Book",
        "author",
    )
    assert group["model"] == "testapp.Author"


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("url", ["/books/", "/books/async/", "/books/template/"])
def test_it_is_found_under_asgi_too(log: Any, url: str) -> None:
    async def visit() -> int:
        response = await AsyncClient().get(url)
        await sync_to_async(connections.close_all)()
        return response.status_code

    assert asyncio.run(visit()) == 200
    (profile,) = log()
    assert profile["queries"] == BOOKS + 1
    (group,) = [group for group in profile["groups"] if group["is_repeated"]]
    assert group["calls"] == BOOKS
    assert (
        group["at"]
        == {
            "/books/": line("book.author.name", views.book_list),
            "/books/async/": line("aget", views.book_list_async),
            "/books/template/": "tests/testapp/templates/testapp/books.html:4",
        }[url]
    )


def repeated(profile: dict[str, Any]) -> list[dict[str, Any]]:
    return [group for group in profile["groups"] if group["is_repeated"]]


def lookups(profile: dict[str, Any]) -> set[tuple[str, str, str, bool]]:
    found = [group["lookup"] for group in repeated(profile) if "lookup" in group]
    return {(x["relation"], x["model"], x["field"], x["is_filtered"]) for x in found}


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "/authors/",
            {
                ("reverse foreign key", "testapp.Author", "books", False),
                ("reverse foreign key", "testapp.Author", "books", True),
            },
        ),
        ("/groups/", {("many to many", "auth.User", "groups", False)}),
        (
            "/notes/",
            {
                ("generic foreign key", "testapp.Note", "subject", False),
                ("deferred field", "testapp.Note", "text", False),
            },
        ),
        (
            "/bulk/",
            {
                ("save", "testapp.Author", "", False),
                ("reverse foreign key", "testapp.Author", "books", False),
            },
        ),
    ],
)
def test_what_was_followed_is_told_by_the_models(log: Any, url: str, expected: Any) -> None:
    Client().get(url)
    Client().get(url)  # where each was told the first time

    for profile in log():
        assert lookups(profile) == expected
        assert all(group["from"] for group in repeated(profile) if group["command"] == "SELECT")
    assert len(log()) == 2


@pytest.mark.usefixtures("shelf")
def test_a_save_in_a_nested_transaction_and_a_count_for_existence(log: Any) -> None:
    Client().get("/bulk/")

    (profile,) = log()
    assert profile["savepoints"] == 12  # begun and released, six times
    assert profile["queries"] - profile["savepoints"] == 1 + 6 + 6
    hints = {group["at"]: group["hint"] for group in profile["groups"] if "hint" in group}
    assert hints == {line("count() > 0", views.bulk): "count for existence"}


@pytest.mark.usefixtures("shelf")
def test_a_view_that_raises_is_profiled_and_raises(log: Any) -> None:
    with pytest.raises(RuntimeError, match="no shelf 7391846"):
        Client().get("/broken/7391846/")

    (profile,) = log()
    assert (profile["queries"], profile["status"]) == (BOOKS + 1, 500)
    assert profile["name"] == "GET broken/<int:number>/"  # not what was asked for
    assert "7391846" not in json.dumps(profile)


def test_ten_thousand_queries_are_counted_in_a_line_of_bounded_size(
    log: Any, tmp_path: Path
) -> None:
    Client().get("/many/", {"count": 10_000})

    (profile,) = log()
    (group,) = profile["groups"]
    assert profile["queries"] == group["calls"] == 10_000
    assert group["statement"] == "SELECT ? WHERE ? <> ?"
    text = (tmp_path / "performance.log").read_text()
    assert "secret" not in text
    assert len(text) < 8192


def test_a_very_long_statement_is_kept_by_its_beginning(log: Any) -> None:
    Client().get("/long/")

    (profile,) = log()
    (group,) = profile["groups"]
    assert group["calls"] == 6
    assert len(group["statement"]) < 500


@pytest.mark.usefixtures("shelf")
def test_a_stream_is_profiled_to_its_end(log: Any) -> None:
    response = Client().get("/stream/")
    assert b"Author 5" in b"".join(response.streaming_content)

    (profile,) = log()
    assert profile["queries"] == BOOKS + 1
    assert repeated(profile)[0]["at"] == line("book.author", views._parts)


@pytest.mark.usefixtures("shelf")
def test_an_asynchronous_stream_is_profiled_to_its_end(log: Any) -> None:
    async def visit() -> bytes:
        response = await AsyncClient().get("/stream/async/")
        parts = [part async for part in response.streaming_content]
        await sync_to_async(connections.close_all)()
        return b"".join(parts)

    assert b"Author 5" in asyncio.run(visit())
    (profile,) = log()
    assert profile["queries"] == BOOKS + 1


@pytest.mark.usefixtures("shelf")
def test_requests_in_threads_do_not_count_for_one_another(log: Any) -> None:
    statuses: list[int] = []

    def visit() -> None:
        try:
            statuses.append(Client().get("/books/").status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert [profile["queries"] for profile in log()] == [BOOKS + 1] * 4


class BrokenHandler(logging.Handler):
    """A disk that is full, as the worst handler would say it."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("No space left on device")


@pytest.mark.usefixtures("shelf")
def test_a_handler_that_fails_costs_the_line_alone(log: Any) -> None:
    logger = logging.getLogger(REQUEST_LOGGER)
    handler = BrokenHandler()
    logger.addHandler(handler)
    try:
        assert Client().get("/books/").status_code == 200
    finally:
        logger.removeHandler(handler)


@pytest.mark.usefixtures("shelf")
def test_a_fault_of_the_profiler_costs_its_count_alone(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("not in this module's plan")

    monkeypatch.setattr("maintenance.web.profile.lookup_of", fail)
    assert Client().get("/books/").status_code == 200
    (profile,) = log()
    assert (profile["queries"], profile["uncounted"]) == (BOOKS + 1, 1)


def test_a_quick_request_writes_nothing(log: Any) -> None:
    Client().get("/books/")
    assert log() == []


@pytest.mark.usefixtures("shelf")
def test_without_the_setting_there_is_no_middleware(log: Any) -> None:
    with override_settings(ENABLE_QUERY_PROFILING=False):
        assert Client().get("/books/").status_code == 200
    assert log() == []


@pytest.mark.usefixtures("shelf")
def test_a_sample_of_none_profiles_none(log: Any) -> None:
    with override_settings(QUERY_PROFILE_SAMPLE_RATIO=0):
        assert Client().get("/books/").status_code == 200
    assert log() == []


@pytest.mark.usefixtures("shelf")
def test_lines_of_a_minute_are_limited_and_the_rest_is_counted(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance_logging, "LINES_PER_MINUTE", 2)
    for _ in range(5):
        Client().get("/books/")
    assert [profile["lines_left_out"] for profile in log()] == [0, 0]

    performance_logging._allowance._began_at = float("-inf")  # a minute later
    Client().get("/books/")
    assert log()[-1]["lines_left_out"] == 3


@pytest.mark.usefixtures("shelf")
def test_a_wrapper_of_the_site_comes_and_goes_around_a_new_connection(log: Any) -> None:
    seen: list[str] = []

    def site_wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    connections["default"].close()
    before = list(connections["default"].execute_wrappers)
    with connections["default"].execute_wrapper(site_wrapper):
        Client().get("/books/")
    assert len(seen) == BOOKS + 1
    assert log()[0]["queries"] == BOOKS + 1
    assert site_wrapper not in connections["default"].execute_wrappers
    assert set(before) <= set(connections["default"].execute_wrappers)


@pytest.mark.usefixtures("shelf")
def test_the_planted_n_plus_one_of_a_task_is_named_with_its_line(log: Any) -> None:
    assert profile_tasks()
    try:
        assert list_books.apply().get() > 0
    finally:
        signals.task_prerun.disconnect(dispatch_uid="maintenance.query_profile")
        signals.task_postrun.disconnect(dispatch_uid="maintenance.query_profile")

    (profile,) = log()
    assert (profile["kind"], profile["status"]) == ("task", "SUCCESS")
    assert profile["name"] == "tests.testapp.tasks.list_books"
    (group,) = repeated(profile)
    assert group["calls"] == BOOKS
    expected = line("book.author.name", list_books.run).replace("views", "tasks")
    assert group["at"] == expected


def test_tasks_are_left_alone_without_the_setting() -> None:
    assert not profile_tasks()
