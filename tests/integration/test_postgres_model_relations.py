"""References of Django models that no server enforces, on the project's own database."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.integrity import orphans
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.review import check_data_integrity
from tests.testapp.models import Author, Book, Note

pytestmark = pytest.mark.django_db(transaction=True)

AUTHOR = "public.testapp_book.author_id"
NOTE = "public.testapp_note.object_id"


def check(state: dict[str, Any] | None = None, **options: Any) -> Report:
    job = Job(
        "own",
        DatabaseTarget(alias="default"),
        IntegrityOptions(amcheck="off", **options),
        previous_state=state or {},
    )
    return check_data_integrity(job, Thresholds())


def found(report: Report, code: str = "orphaned-rows") -> dict[str, Finding]:
    return {finding.subject: finding for finding in report.findings if finding.code == code}


@pytest.fixture
def author() -> Author:
    return Author.objects.create(name="Ada")


def test_a_key_without_a_constraint_is_followed(author: Author) -> None:
    Book.objects.create(title="kept", author=author)
    Book.objects.create(title="lost", author_id=author.pk + 1)
    Book.objects.create(title="lost, too", author_id=author.pk + 2)
    report = check()
    (finding,) = found(report).values()
    assert finding.subject == AUTHOR
    assert finding.sentence == (
        "2 rows of public.testapp_book refer to a row of public.testapp_author that does not exist,"
        " by testapp.Book.author: it has db_constraint=False."
    )
    with connection.cursor() as cursor:
        cursor.execute(finding.commands[0])
        assert sorted(row[1] for row in cursor.fetchall()) == ["lost", "lost, too"]


def test_sound_references_are_no_finding(author: Author) -> None:
    Book.objects.create(title="kept", author=author)
    Note.objects.create(subject=author)
    assert found(check()) == {}


def test_a_generic_key_is_followed_by_its_content_type(author: Author) -> None:
    book = Book.objects.create(title="kept", author=author)
    authors, books = (ContentType.objects.get_for_model(model) for model in (Author, Book))
    Note.objects.create(text="kept", subject=author)
    Note.objects.create(text="kept", subject=book)
    Note.objects.create(text="gone", content_type=authors, object_id=str(author.pk + 7))
    # There is a book of this number, but no author.
    Note.objects.create(text="other", content_type=authors, object_id=str(10**9 + book.pk))
    Note.objects.create(text="no number", content_type=books, object_id="x'; DROP TABLE")
    Note.objects.create(text="too large", content_type=books, object_id="9" * 30)
    (finding,) = found(check()).values()
    assert finding.subject == NOTE
    assert finding.evidence["orphaned_rows"] == 4
    assert finding.evidence["rows"] == 6
    with connection.cursor() as cursor:
        cursor.execute(finding.commands[0])
        assert {row[1] for row in cursor.fetchall()} == {"gone", "other", "no number", "too large"}


def test_rows_of_models_that_this_project_lacks_are_not_judged(author: Author) -> None:
    foreign = ContentType.objects.create(app_label="elsewhere", model="thing")
    Note.objects.create(content_type=foreign, object_id="1")
    assert found(check()) == {}


@pytest.fixture
def without_constraint() -> Iterator[None]:
    """The translator's foreign key is dropped by hand, and comes back after the test."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'testapp_book'::regclass AND contype = 'f'"
        )
        ((name, definition),) = cursor.fetchall()
        cursor.execute(f'ALTER TABLE testapp_book DROP CONSTRAINT "{name}"')
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM testapp_book")
        cursor.execute(
            "ALTER TABLE testapp_book DROP CONSTRAINT IF EXISTS testapp_book_translator_id_fk"
        )
        cursor.execute(f'ALTER TABLE testapp_book ADD CONSTRAINT "{name}" {definition}')


@pytest.mark.usefixtures("without_constraint")
def test_a_constraint_that_the_database_lacks_is_named_and_can_be_added(author: Author) -> None:
    book = Book.objects.create(title="lost", author=author, translator_id=author.pk + 1)
    report = check()
    (missing,) = found(report, "missing-foreign-key").values()
    assert missing.subject == "public.testapp_book.translator_id"
    (orphan,) = found(report).values()
    assert orphan.evidence["field"] == "testapp.Book.translator"
    book.delete()
    with connection.cursor() as cursor:
        for command in missing.commands:
            cursor.execute(command)
    assert check().findings == ()


def test_a_count_goes_on_where_the_run_before_stopped(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "BATCH_ROWS", 10)
    Book.objects.bulk_create(
        Book(title=f"book {number}", author_id=author.pk + number % 2) for number in range(35)
    )
    whole = found(check())[AUTHOR].evidence
    assert (whole["rows"], whole["orphaned_rows"]) == (35, 17)

    class Batches:
        """A budget that is spent after so many batches."""

        def __init__(self, count: int) -> None:
            self.left = count
            self.seconds = 1.0

        @property
        def is_spent(self) -> bool:
            self.left -= 1
            return self.left < 0

    state: dict[str, Any] = {}
    seen = []
    count = orphans._count
    # In its place alone: what else is looked at, and spends of the budget, is up to the other tests.
    monkeypatch.setattr(
        orphans, "_count", lambda conn, begun, _budget, step: count(conn, begun, Batches(1), step)
    )
    for _run in range(4):
        report = check(state)
        state = dict(report.state)
        seen.append(state.get("model_relations", {}).get("testapp.Book.author", {}).get("rows"))
    assert seen == [10, 20, 30, None]
    finding = found(report)[AUTHOR]
    assert (finding.evidence["rows"], finding.evidence["orphaned_rows"]) == (35, 17)
    assert finding.measured


def test_time_that_is_not_enough_is_said(author: Author) -> None:
    Book.objects.create(title="lost", author_id=author.pk + 1)
    withheld = found(check(reading_seconds=0))
    assert not withheld[AUTHOR].measured
    assert "more time: 0 rows were looked at, the next run goes on" in withheld[AUTHOR].sentence


def test_another_projects_database_has_no_models_of_ours(author: Author) -> None:
    Book.objects.create(title="lost", author_id=author.pk + 1)
    values = connection.settings_dict
    url = (
        f"postgres://{values['USER']}:{values['PASSWORD']}@{values['HOST']}:{values['PORT']}"
        f"/{values['NAME']}"
    )
    job = Job("site", DatabaseTarget(url=url), IntegrityOptions(amcheck="off"))
    assert found(check_data_integrity(job, Thresholds())) == {}


def test_migrations_that_wait_and_that_are_unknown_are_named() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions' RETURNING name")
        ((name,),) = cursor.fetchall()
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '9999_later', now())"
        )
    try:
        report = check()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = '9999_later'")
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('sessions', %s, now())",
                [name],
            )
    (waiting,) = found(report, "unapplied-migrations").values()
    assert waiting.sentence == (
        f"1 migration of this project waits to be applied: sessions {name}."
    )
    (unknown,) = found(report, "unknown-migrations").values()
    assert "auth 9999_later" in unknown.sentence
    assert check().findings == ()
