"""The weekly review of what the profiler really wrote, across every way of rotating a log."""

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from maintenance.core.errors import MissingRights
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.web.n_plus_one import review_n_plus_one
from tests.integration.test_query_profiler import BOOKS, line, log, shelf
from tests.testapp import views

__all__ = ["log", "shelf"]

pytestmark = pytest.mark.django_db(transaction=True)


def review(path: Path, state: Any = None) -> Report:
    return review_n_plus_one(Job("", None, NoOptions(), previous_state=state or {}), str(path))


@pytest.mark.usefixtures("shelf", "log")
def test_the_line_the_relation_and_the_remedy_are_named(tmp_path: Path) -> None:
    for url in ("/books/", "/books/", "/authors/", "/groups/", "/notes/", "/bulk/"):
        Client().get(url)

    report = review(tmp_path / "performance.log")

    found = {finding.subject: finding for finding in report.findings}
    books = line("book.author.name", views.book_list)
    finding = found[f"testapp.Book.author at {books}"]
    assert finding.code == "n-plus-one"
    assert f"at {books}: {2 * BOOKS} queries" in finding.sentence
    assert f"in 2 runs of GET books/, up to {BOOKS} in one." in finding.sentence
    assert f'.select_related("author") to the query of testapp.Book that runs at {books}' in (
        finding.advice
    )
    assert f"spare about {2 * (BOOKS - 1)} queries" in finding.advice
    users = line("in User.objects", views.group_list)
    groups = found[f"auth.User.groups at {line('user.groups', views.group_list)}"]
    assert f'.prefetch_related("groups") to the query of auth.User that runs at {users}' in (
        groups.advice
    )
    filtered = found[f"testapp.Author.books at {line('filter', views.author_list)}"]
    assert 'Prefetch("books", queryset=...)' in filtered.advice
    deferred = found[f"testapp.Note.text at {line('note.text', views.note_list)}"]
    assert 'Take "text" out of defer()' in deferred.advice
    saves = found[f"testapp.Author at {line('author.save()', views.bulk)}"]
    assert (saves.code, "bulk_update" in saves.advice) == ("writes-in-loop", True)
    exists = found[line("count() > 0", views.bulk)]
    assert (exists.code, ".exists()" in exists.advice) == ("count-for-existence", True)
    table = report.tables[0]
    saved = [row[table.columns.index("saved_ms")] for row in table.rows]
    assert saved == sorted(saved, reverse=True)
    assert report.facts["profiles"] == 6


def rename(path: Path) -> None:
    path.rename(path.with_name("performance.log.1"))


def copy_and_truncate(path: Path) -> None:
    shutil.copy2(path, path.with_name("performance.log.1"))
    path.write_bytes(b"")


def compress(path: Path) -> None:
    path.with_name("performance.log-20260301.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.usefixtures("shelf", "log")
@pytest.mark.parametrize("rotate", [rename, copy_and_truncate, compress])
def test_nothing_is_counted_twice_or_lost_across_a_rotation(
    tmp_path: Path, rotate: Callable[[Path], None]
) -> None:
    path = tmp_path / "performance.log"
    Client().get("/books/")
    first = review(path)
    Client().get("/groups/")
    lines = path.read_bytes()
    rotate(path)
    with path.open("ab") as file:
        # A handler that follows its file, and another process in the middle of a line.
        file.write(lines.splitlines(keepends=True)[1].replace(b"GET groups", b"GET group"))
        file.write(b'{"event": "query-profile", "ver')
    second = review(path, first.state)
    third = review(path, second.state)

    assert re.search(r"between \d{4}-\d\d-\d\d \d\d:\d\d and ", first.summary)
    assert first.facts["profiles"] == 1
    assert second.facts["profiles"] == 2
    assert {f.subject.split(" at ")[0] for f in second.findings} == {"auth.User.groups"}
    assert third.facts["profiles"] == third.facts["log_malformed_lines"] == 0
    assert third.summary == f"The performance log {path} has nothing new."
    with path.open("ab") as file:
        file.write(b'"\n{"event": "query-profile"}\nanother program\n')
    fourth = review(path, third.state)
    assert fourth.facts["log_malformed_lines"] == 2
    assert fourth.facts["log_other_lines"] == 1


@pytest.mark.usefixtures("shelf", "log")
def test_a_file_that_went_before_its_end_was_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "performance.log"
    Client().get("/books/")
    first = review(path)
    path.unlink()
    second = review(path, first.state)

    assert [f.code for f in second.findings] == ["performance-log-empty", "performance-log-lost"]


def test_a_folder_that_is_not_there_is_a_missing_right(tmp_path: Path) -> None:
    with pytest.raises(MissingRights, match="no such file"):
        review(tmp_path / "nowhere" / "performance.log")
