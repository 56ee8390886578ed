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
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import AsyncClient, Client, override_settings

from maintenance.web import performance_logging
from maintenance.web.performance_logging import REQUEST_LOGGER
from tests.testapp import views
from tests.testapp.models import Author, Book, Note

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
    for name in (REQUEST_LOGGER, performance_logging.TASK_LOGGER):
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
        return (await AsyncClient().get(url)).status_code

    assert asyncio.run(visit()) == 200
    (profile,) = log()
    assert profile["queries"] == BOOKS + 1
    (group,) = [group for group in profile["groups"] if group["is_repeated"]]
    assert group["calls"] == BOOKS
    assert group["at"] == {
        "/books/": line("book.author.name", views.book_list),
        "/books/async/": line("aget", views.book_list_async),
        "/books/template/": "tests/testapp/templates/testapp/books.html:4",
    }[url]
