"""Python that the guide prints and that works: each piece as printed, but for what it leaves to the reader.

docs/guide-coverage.md refers to these tests by name.
"""

import logging.config
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app, signals
from django.core.cache import caches
from django.db import connection, models, transaction
from django.db.models import Count
from django.test import override_settings
from django.test.utils import isolate_apps
from kombu import Exchange, Queue

from tests.integration.test_guide_corrections import CORRECTED_OPTIONS, cache_with
from tests.testapp.models import Author, Book


def executed(printed: str, **names: Any) -> dict[str, Any]:
    """Run a piece of the guide among these names; return what it has made."""
    exec(printed, names)
    return names


# --- Celery -----------------------------------------------------------------------------------

ROUTES = """
CELERY_TASK_ROUTES = {
    'bookwyrm.tasks.high_priority_task': {'queue': 'high'},
    'bookwyrm.tasks.low_priority_task': {'queue': 'low'},
}
"""
TASK = """
from celery import shared_task
from celery.utils.log import get_task_logger

logger = get_task_logger(__name__)

@shared_task(
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    rate_limit='100/m'  # Rate limiting
)
def process_inbox_activity(self, activity):
    try:
        # Task code
        task_code(activity)
    except Exception as exc:
        # Retry with exponential backoff
        raise self.retry(exc=exc, countdown=2 ** self.request.retries)
"""


@pytest.fixture
def celery_app() -> Iterator[Celery]:
    """An application that shared tasks bind to; none of another test's is current meanwhile."""
    app = Celery("guide", broker="memory://", backend="cache+memory://", set_as_current=False)
    before = current_app._get_current_object()
    app.set_current()
    yield app
    before.set_current()


def test_tasks_go_where_the_printed_routes_say(celery_app: Celery) -> None:
    celery_app.conf.task_queues = [Queue(name, Exchange(name), name) for name in ("high", "low")]
    celery_app.config_from_object(executed(ROUTES), namespace="CELERY", force=True)

    for name in ("high", "low"):
        route = celery_app.amqp.router.route({}, f"bookwyrm.tasks.{name}_priority_task")
        assert route["queue"].name == name


def test_the_printed_task_comes_again_at_doubled_distances(celery_app: Celery) -> None:
    asked: list[str] = []
    waits: list[float] = []

    def fail_twice(activity: str) -> None:
        asked.append(activity)
        if len(asked) < 3:
            raise ConnectionError

    def note(reason: Any, **_more: Any) -> None:
        waits.append(reason.when)

    task = executed(TASK, task_code=fail_twice, __name__="guide")["process_inbox_activity"]
    signals.task_retry.connect(note, weak=False)
    try:
        task.apply(["an activity"])
    finally:
        signals.task_retry.disconnect(note)

    assert asked == ["an activity"] * 3
    assert sorted(waits) == [1, 2]
    assert task.max_retries == 3


# --- Locks and caches -------------------------------------------------------------------------

RAISE = """
with transaction.atomic():
    book = Book.objects.select_for_update().get(id=book_id)
    book.rating_count += 1
    book.save()
"""
POPULAR = """
from django.core.cache import cache

def get_popular_books():
    cache_key = 'popular_books'
    books = cache.get(cache_key)

    if books is None:
        books = Book.objects.annotate(
            review_count=Count('reviews')
        ).order_by('-review_count')[:100]
        cache.set(cache_key, books, 60 * 30)  # 30 minutes

    return books
"""


@pytest.mark.django_db(transaction=True)
def test_the_printed_counter_loses_no_rise_of_two_at_once() -> None:
    with isolate_apps("tests.testapp"):

        class Rated(models.Model):
            rating_count = models.IntegerField(default=0)

            class Meta:
                app_label = "testapp"
                db_table = "guide_rated"

            def __str__(self) -> str:
                return str(self.rating_count)

    with connection.schema_editor() as schema:
        schema.create_model(Rated)
    try:
        book = Rated.objects.create()

        def rise() -> None:
            try:
                for _number in range(25):
                    executed(RAISE, transaction=transaction, Book=Rated, book_id=book.pk)
            finally:
                connection.close()

        threads = [threading.Thread(target=rise) for _number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        book.refresh_from_db()
        assert book.rating_count == 50
    finally:
        with connection.schema_editor() as schema:
            schema.delete_model(Rated)


@pytest.mark.django_db
def test_the_printed_cache_asks_the_database_once(
    redis_url: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    one, other = (Author.objects.create(name=name) for name in ("Le Guin", "Butler"))
    for number in range(3):
        Book.objects.create(title=f"Volume {number}", author=other if number else one)
    printed = POPULAR.replace("'reviews'", "'books'")  # of authors here, which have books
    popular = executed(printed, Book=Author, Count=Count)["get_popular_books"]

    with override_settings(CACHES=cache_with(redis_url, CORRECTED_OPTIONS)):
        with django_assert_num_queries(1):
            first = list(popular())
        with django_assert_num_queries(0):
            again = list(popular())
        caches["default"].clear()

    assert [(book.name, book.review_count) for book in first] == [("Butler", 2), ("Le Guin", 1)]
    assert again == first


# --- Logging ----------------------------------------------------------------------------------

LOGGING = """
LOGGING = {
    'version': 1,
    'disable_existing_loggers': False,
    'handlers': {
        'performance': {
            'level': 'INFO',
            'class': 'logging.FileHandler',
            'filename': '/var/log/bookwyrm/performance.log',
        },
    },
    'loggers': {
        'bookwyrm.middleware.query_profiler': {
            'handlers': ['performance'],
            'level': 'INFO',
            'propagate': False,
        },
        'bookwyrm.utils.performance': {
            'handlers': ['performance'],
            'level': 'INFO',
            'propagate': False,
        },
    },
}
"""
LOGGERS = ("bookwyrm.middleware.query_profiler", "bookwyrm.utils.performance")


@pytest.fixture
def loggers() -> Iterator[list[logging.Logger]]:
    """The guide's loggers, without a handler before and after."""
    found = [logging.getLogger(name) for name in LOGGERS]
    yield found
    for logger in found:
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def test_the_printed_loggers_write_where_the_folder_exists(
    tmp_path: Path, loggers: list[logging.Logger]
) -> None:
    folder = tmp_path / "bookwyrm"
    printed = executed(LOGGING.replace("/var/log/bookwyrm", str(folder)))["LOGGING"]
    with pytest.raises(ValueError, match="performance"):
        logging.config.dictConfig(printed)

    folder.mkdir()
    logging.config.dictConfig(printed)
    for logger in loggers:
        logger.info("from %s", logger.name)
        logger.debug("too much")

    written = (folder / "performance.log").read_text().splitlines()
    assert written == [f"from {name}" for name in LOGGERS]
