"""Indexes of tables that Django models own: the printed migration is carried out, both ways."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.state import ProjectState

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.postgres.indexes.advice.report import report_index_advice
from maintenance.postgres.indexes.missing import report_missing_indexes
from maintenance.postgres.indexes.options import (
    MissingIndexOptions,
    RedundantIndexOptions,
    UnusedIndexOptions,
)
from maintenance.postgres.indexes.redundant import report_redundant_indexes
from maintenance.postgres.indexes.unused import report_unused_indexes
from tests.testapp.models import Author, Book

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = DatabaseTarget(alias="default")


def unused() -> dict[str, Finding]:
    """Return the unused indexes of the project's own models by what they are on."""
    job = Job("site", TARGET, UnusedIndexOptions(minimum_bytes=0, window_seconds=0.000_001))
    state = report_unused_indexes(job, Thresholds()).state
    report = report_unused_indexes(replace(job, previous_state=state), Thresholds())
    return {f.subject: f for f in report.findings if f.subject.startswith("public.testapp_")}


def of(fields: str, words: str) -> Finding:
    (finding,) = (
        f for f in unused().values() if f.evidence.get("fields") == fields and words in f.sentence
    )
    return finding


def missing() -> dict[str, Finding]:
    job = Job("site", TARGET, MissingIndexOptions(minimum_bytes=0))
    return {f.subject: f for f in report_missing_indexes(job, Thresholds()).findings}


def redundant() -> dict[str, Finding]:
    job = Job("site", TARGET, RedundantIndexOptions(minimum_bytes=0))
    return {f.subject: f for f in report_redundant_indexes(job, Thresholds()).findings}


def migration(finding: Finding) -> Migration:
    """Return the printed migration as Django would load it."""
    (text,) = finding.commands
    names: dict[str, Any] = {}
    exec(text, names)
    loaded = names["Migration"]("0002_printed", "testapp")
    assert isinstance(loaded, Migration)
    assert not loaded.atomic
    return loaded


@pytest.fixture
def before() -> ProjectState:
    return ProjectState.from_apps(apps)


def apply(finding: Finding, before: ProjectState) -> ProjectState:
    with connection.schema_editor(atomic=False) as editor:
        return migration(finding).apply(before.clone(), editor)


def unapply(finding: Finding, before: ProjectState) -> None:
    with connection.schema_editor(atomic=False) as editor:
        migration(finding).unapply(before.clone(), editor)


def test_an_index_of_meta_is_removed_by_its_operation_and_added_again(before: ProjectState) -> None:
    finding = of("title", "Meta.indexes")
    assert finding.subject == "public.testapp_book.testapp_book_title_idx"
    assert "The Django model testapp.Book declares it in Meta.indexes (title)." in finding.sentence
    assert finding.evidence["model"] == "testapp.Book"
    assert "operations.RemoveIndexConcurrently(" in finding.commands[0]
    assert "Remove the index" in finding.advice
    after = apply(finding, before)
    assert finding.subject not in unused()
    assert after.models["testapp", "book"].options["indexes"] == []
    unapply(finding, before)
    assert finding.subject in unused()


def test_the_index_of_a_field_is_dropped_with_its_db_index_in_the_state(
    before: ProjectState,
) -> None:
    finding = of("name", "db_index")
    assert "Django made it for db_index of testapp.Author.name." in finding.sentence
    assert "Set db_index=False on testapp.Author.name." in finding.advice
    assert "Its index for LIKE searches stays" in finding.advice
    after = apply(finding, before)
    assert finding.subject not in unused()
    assert after.models["testapp", "author"].fields["name"].db_index is False
    unapply(finding, before)
    assert finding.subject in unused()


def test_the_index_for_like_searches_is_dropped_in_the_database_alone(
    before: ProjectState,
) -> None:
    finding = of("name", "LIKE searches")
    assert finding.subject.endswith("_like")
    assert "makes it again in new databases" in finding.advice
    apply(finding, before)
    assert finding.subject not in unused()
    unapply(finding, before)
    assert finding.subject in unused()


def test_the_only_index_behind_a_foreign_key_that_django_alone_knows_stays() -> None:
    job = Job("site", TARGET, UnusedIndexOptions(minimum_bytes=0))
    (table,) = report_unused_indexes(job, Thresholds()).tables
    verdicts = {row[0]: row[-1] for row in table.rows}
    (verdict,) = (v for name, v in verdicts.items() if "testapp_book_author_id" in name)
    assert verdict == 'kept: no other index supports the foreign key "testapp.Book.author"'


def test_a_foreign_key_without_an_index_gets_one_of_meta(before: ProjectState) -> None:
    finding = missing()["public.testapp_book.translator_id"]
    assert "In Django it is testapp.Book.translator." in finding.sentence
    assert "operations.AddIndexConcurrently(" in finding.commands[0]
    assert "to Meta.indexes of testapp.Book." in finding.advice
    after = apply(finding, before)
    assert finding.subject not in missing()
    assert len(after.models["testapp", "book"].options["indexes"]) == 2
    unapply(finding, before)
    assert finding.subject in missing()


def test_an_index_that_no_model_declares_goes_rather_than_its_duplicate(
    before: ProjectState,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute('CREATE INDEX "odd 100%% name" ON testapp_book (title)', [])
    finding = redundant()['public.testapp_book."odd 100% name"']
    assert "which does not declare it" in finding.sentence
    assert finding.evidence["covered_by"] == "public.testapp_book.testapp_book_title_idx"
    apply(finding, before)
    assert finding.subject not in redundant()
    unapply(finding, before)
    assert finding.subject in redundant()
    apply(finding, before)


def test_a_model_of_a_package_is_named_and_its_statement_is_for_the_database_alone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX extra ON auth_permission (name)")
    report = report_unused_indexes(
        Job("site", TARGET, UnusedIndexOptions(minimum_bytes=0)), Thresholds()
    )
    (candidate,) = (f for f in report.findings if f.subject == "public.auth_permission.extra")
    assert "the Django model auth.Permission, which does not declare it" in candidate.sentence
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX extra_2 ON auth_permission (name)")
    finding = redundant()["public.auth_permission.extra_2"]
    assert finding.commands == ('DROP INDEX CONCURRENTLY "public"."extra_2";',)
    assert "The migrations of auth.Permission are not this project's own" in finding.advice
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX extra, extra_2")


def test_a_target_by_url_knows_no_models() -> None:
    settings = connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**settings)
    job = Job("site", DatabaseTarget(url=url), MissingIndexOptions(minimum_bytes=0))
    by_subject = {f.subject: f for f in report_missing_indexes(job, Thresholds()).findings}
    finding = by_subject["public.testapp_book.translator_id"]
    assert finding.commands[0].startswith("CREATE INDEX CONCURRENTLY")
    assert "model" not in finding.evidence


@pytest.fixture
def queried() -> Iterator[None]:
    """Rows, and queries of the ORM that no index serves."""
    authors = Author.objects.bulk_create(Author(name=f"Name {n}") for n in range(2000))
    Book.objects.bulk_create(
        Book(title=f"Title {n}", author=authors[0], translator=authors[n % 2000])
        for n in range(20_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE testapp_book, testapp_author")
        cursor.execute("CREATE EXTENSION pg_stat_statements")
        cursor.execute("SELECT pg_stat_statements_reset()")
        list(Book.objects.filter(translator=authors[5]))
        list(Author.objects.filter(name__iexact="name 7"))
        yield
        cursor.execute("DROP EXTENSION pg_stat_statements")


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename LIKE 'testapp%'")
        return {name for (name,) in cursor.fetchall()}


def advised() -> dict[str, Finding]:
    job = Job("site", TARGET, MissingIndexOptions(minimum_bytes=0))
    return {f.subject: f for f in report_index_advice(job, Thresholds()).findings if f.measured}


@pytest.mark.usefixtures("queried")
def test_an_index_for_queries_of_the_orm_is_added_to_meta(before: ProjectState) -> None:
    finding = advised()["public.testapp_book (translator_id)"]
    assert "Its table belongs to the Django model testapp.Book." in finding.sentence
    assert finding.evidence["fields"] == "translator"
    assert "operations.AddIndexConcurrently(" in finding.commands[0]
    there = indexes()
    after = apply(finding, before)
    assert len(indexes()) == len(there) + 1
    assert finding.subject not in advised()
    assert len(after.models["testapp", "book"].options["indexes"]) == 2
    unapply(finding, before)
    assert indexes() == there


@pytest.mark.usefixtures("queried")
def test_an_index_that_fields_cannot_say_is_made_by_its_statement(before: ProjectState) -> None:
    finding = advised()["public.testapp_author (upper(name))"]
    assert "migrations.RunSQL(" in finding.commands[0]
    assert "The database alone gets it" in finding.advice
    there = indexes()
    apply(finding, before)
    assert len(indexes()) == len(there) + 1
    assert finding.subject not in advised()
    unapply(finding, before)
    assert indexes() == there
