"""Orphaned media beside rows of real models and of a database asked by SQL."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.db import connection, models
from django.test import override_settings

from maintenance.conf import MediaTarget, parse_configuration
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption, NoOptions
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.registry import task_named
from maintenance.tasks.media import _sources_of
from maintenance.web.images.orphans import remove_orphaned_media, report_orphaned_media
from maintenance.web.images.references import NameSource, names_in_models
from maintenance.web.images.stored import StoragePlace
from tests.images import ODD_FILE

NAMES = ["covers/a.jpg", "covers/b.jpg", ODD_FILE, "new.jpg", "CACHE/x.jpg", "keep/me.txt"]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 10)
        if name != "new.jpg":
            os.utime(path, (time.time() - 30 * 86_400,) * 2)
    return folder


def target(media: Path, **more: object) -> MediaTarget:
    return MediaTarget.model_validate(
        {"path": str(media), "exclude": ("CACHE",), "orphan_exceptions": ("keep/*",), **more}
    )


def asking(*answers: list[str]) -> Iterator[list[str]]:
    yield from answers
    while True:
        yield answers[-1]


def sources(**names: list[str]) -> list[NameSource]:
    return [NameSource(label, answer) for label, answer in names.items()]


def look(media: Path, *answers: list[str]) -> Report:
    replies = asking(*answers)
    return report_orphaned_media(
        Job("site", target(media), NoOptions()), lambda: sources(covers=next(replies))
    )


def remove(media: Path, *answers: list[str], dry_run: bool = False, **more: object) -> Report:
    replies = asking(*answers)
    job = Job("site", target(media, **more), DryRunOption(dry_run=dry_run))
    return remove_orphaned_media(job, lambda: sources(covers=next(replies)))


def left(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def test_what_no_row_names_and_what_rows_name_in_vain(media: Path) -> None:
    (media / "linked").symlink_to(media / "CACHE", target_is_directory=True)
    report = look(media, ["covers/a.jpg", "/covers/b.jpg", "gone.jpg", "linked/x.jpg", "CACHE/y"])

    orphaned, missing = report.findings
    assert orphaned.evidence["orphans"] == 1
    assert [row[0] for row in report.tables[0].rows] == [ODD_FILE]
    assert missing.evidence["names"] == ["gone.jpg"]
    assert report.facts["too_young_to_be_judged"] == 1
    assert left(media) == set(NAMES)


def test_an_upload_during_the_walk_is_no_orphan(media: Path) -> None:
    assert look(media, ["covers/a.jpg"], ["covers/a.jpg", "covers/b.jpg", ODD_FILE]).findings == ()


def test_accents_may_be_composed_either_way(media: Path) -> None:
    old = media / "caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    named = ["covers/a.jpg", "covers/b.jpg", ODD_FILE, "cafe\N{COMBINING ACUTE ACCENT}.jpg"]
    assert look(media, named).findings == ()


def test_an_empty_answer_makes_no_orphans(media: Path) -> None:
    with pytest.raises(Skipped, match="no row names any file"):
        remove(media, [])
    assert left(media) == set(NAMES)


def answers_of_two(covers: list[str], *avatars: list[str]) -> Callable[[], list[NameSource]]:
    replies = asking(*avatars)
    return lambda: sources(covers=covers, avatars=next(replies))


@pytest.mark.parametrize(
    "avatars", [([],), (["", ""],), (["avatars/x.jpg"], [])], ids=["none", "blank", "later"]
)
def test_one_source_that_names_nothing_stops_the_removal(
    media: Path, avatars: tuple[list[str], ...]
) -> None:
    ask = answers_of_two(["covers/a.jpg", "covers/b.jpg"], *avatars)
    report = remove_orphaned_media(Job("site", target(media), DryRunOption()), ask)
    assert report.outcomes[0].verdict is Verdict.REFUSED
    assert "avatars named no file" in report.summary
    assert left(media) == set(NAMES)

    ask = answers_of_two(["covers/a.jpg", "covers/b.jpg"], *avatars)
    told = report_orphaned_media(Job("site", target(media), NoOptions()), ask)
    assert told.findings[0].code == "media-source-empty"
    assert told.findings[0].evidence["sources"] == ["avatars"]


def test_removal_takes_orphans_and_nothing_else(media: Path) -> None:
    named = ["covers/a.jpg", "covers/b.jpg"]
    planned = remove(media, named, dry_run=True)
    assert planned.outcomes[0].verdict is Verdict.PLANNED
    assert left(media) == set(NAMES)

    report = remove(media, named)
    assert report.outcomes[0].verdict is Verdict.WORKED
    assert left(media) == set(NAMES) - {ODD_FILE}
    assert "1 file deleted" in report.summary


def test_too_large_a_share_is_refused(media: Path) -> None:
    report = remove(media, ["covers/a.jpg"])
    assert report.outcomes[0].verdict is Verdict.REFUSED
    assert "rather a query forgets something" in report.summary
    assert left(media) == set(NAMES)
    agreed = remove(media, ["covers/a.jpg"], orphan_share_limit_ratio=1)
    assert agreed.outcomes[0].verdict is Verdict.WORKED
    assert left(media) == set(NAMES) - {ODD_FILE, "covers/b.jpg"}


def test_a_file_that_changed_since_is_not_deleted(media: Path) -> None:
    def ask() -> list[NameSource]:
        calls.append(1)
        if len(calls) == 2:
            (media / ODD_FILE).write_bytes(b"somebody else's by now")
        return sources(covers=["covers/a.jpg", "covers/b.jpg"])

    calls: list[int] = []
    report = remove_orphaned_media(Job("site", target(media), DryRunOption()), ask)
    assert left(media) == set(NAMES)
    assert "changed while it was at work" in report.summary


def test_it_takes_leave_and_something_that_names_files(media: Path) -> None:
    spec = task_named("remove_orphaned_media")
    with pytest.raises(Skipped, match=r'add allow = \["remove_media"\]'):
        require_leave(spec, "site", target(media))
    with pytest.raises(Skipped, match="models = true, or references"):
        _sources_of(target(media))


@contextmanager
def tables_of(*made: type[models.Model]) -> Iterator[None]:
    """Give models of a test their tables, and forget both."""
    try:
        with connection.schema_editor() as editor:
            for model in made:
                editor.create_model(model)
        yield
        with connection.schema_editor() as editor:
            for model in made:
                editor.delete_model(model)
    finally:
        for model in made:
            del apps.all_models["testapp"][model._meta.model_name]
        apps.clear_cache()


@pytest.mark.django_db(transaction=True)
def test_file_fields_of_models_name_files_also_in_a_folder_below_or_above(media: Path) -> None:
    class Picture(models.Model):
        file = models.ImageField(storage=FileSystemStorage(media / "covers"))
        whole = models.FileField(storage=FileSystemStorage(media.parent), blank=True)
        other = models.FileField(storage=FileSystemStorage("/elsewhere"), blank=True)
        far = models.FileField(storage=Bucket("b"), blank=True)

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return str(self.file)

    with tables_of(Picture):
        Picture.objects.create(file="a.jpg", whole="media/b.jpg", other="never.jpg", far="no.jpg")
        Picture.objects.create(file="", whole="beside.jpg")
        found = list(names_in_models(target(media, models=True)))
    assert found == ["covers/a.jpg", "b.jpg"]


class Bucket(Storage):
    """Keys below a location of a bucket, as storages of S3 describe themselves."""

    def __init__(self, bucket_name: str, location: str = "") -> None:
        self.bucket_name = bucket_name
        self.location = location


@pytest.mark.django_db(transaction=True)
def test_other_storages_on_the_same_bucket_name_files_of_it() -> None:
    class Upload(models.Model):
        public = models.FileField(storage=Bucket("b"), blank=True)
        private = models.FileField(storage=Bucket("b", "private"), blank=True)
        other = models.FileField(storage=Bucket("c", "private"), blank=True)

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return str(self.public)

    place = {"BACKEND": "tests.integration.test_web_orphans.Bucket"}
    whole = {**place, "OPTIONS": {"bucket_name": "b"}}
    inner = {**place, "OPTIONS": {"bucket_name": "b", "location": "/private/"}}
    with (
        override_settings(STORAGES={**settings.STORAGES, "whole": whole, "inner": inner}),
        tables_of(Upload),
    ):
        Upload.objects.create(public="a.jpg", private="passport.pdf", other="never.pdf")
        Upload.objects.create(public="private/b.pdf")
        named = set(names_in_models(MediaTarget(storage="whole", models=True)))
        assert named == {"a.jpg", "private/b.pdf", "private/passport.pdf"}
        named = set(names_in_models(MediaTarget(storage="inner", models=True)))
        assert named == {"b.pdf", "passport.pdf"}


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_may_be_the_same_place_stops_everything() -> None:
    class Riddle(models.Model):
        file = models.FileField(storage=Storage())

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return str(self.file)

    place = {
        "BACKEND": "tests.integration.test_web_orphans.Bucket",
        "OPTIONS": {"bucket_name": "b"},
    }
    with (
        override_settings(STORAGES={**settings.STORAGES, "bucket": place}),
        tables_of(Riddle),
        pytest.raises(Skipped, match=r"testapp\.Riddle\.file .*Storage.* models = false"),
    ):
        list(names_in_models(MediaTarget(storage="bucket", models=True)))


class Living(models.Manager[models.Model]):
    def get_queryset(self) -> models.QuerySet[models.Model]:
        return super().get_queryset().filter(deleted=False)


@pytest.mark.django_db(transaction=True)
def test_rows_that_every_manager_hides_name_files(media: Path) -> None:
    class Volume(models.Model):
        cover = models.FileField(storage=FileSystemStorage(media))
        deleted = models.BooleanField(default=False)
        living = Living()

        class Meta:
            app_label = "testapp"
            base_manager_name = "living"

        def __str__(self) -> str:
            return str(self.cover)

    with tables_of(Volume):
        Volume(cover="covers/a.jpg").save()
        Volume(cover="covers/b.jpg", deleted=True).save()
        named = set(names_in_models(target(media, models=True)))
    assert named == {"covers/a.jpg", "covers/b.jpg"}


@pytest.mark.django_db(transaction=True)
def test_names_come_from_a_database_by_sql(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = parse_configuration(
        {
            "databases": {"site": {"alias": "default"}},
            "media": {
                "site": {
                    "path": str(media),
                    "references": [{"database": "site", "sql": "SELECT 'covers/a.jpg'"}],
                }
            },
        }
    )
    monkeypatch.setattr("maintenance.tasks.media.configuration", lambda: parsed)
    ask = _sources_of(parsed.media["site"])
    for _time in range(2):
        assert [list(source.names) for source in ask()] == [["covers/a.jpg"]]


def test_a_storage_is_asked_as_well() -> None:
    storage = InMemoryStorage()
    storage.save("a.jpg", ContentFile(b"x"))
    place = StoragePlace(storage)
    assert place.exists("a.jpg")
    assert not place.exists("b.jpg")
    assert not place.exists("../../etc/passwd")
