"""The log store, on a folder and on storages without folders."""

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, timedelta
from pathlib import Path
from threading import Barrier, Event
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.test import override_settings

from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError, UnknownName
from maintenance.core.reports import ReportDocument
from maintenance.reports.file_names import file_safe, report_file, stem_of
from maintenance.reports.log_store import (
    LogStore,
    LogStoreUnavailable,
    UnreadableReport,
    configured_store,
)
from maintenance.reports.plain import plain_document
from tests.golden.example_report import DOCUMENT

STEM = "reports/2026/11/23/weekly-report_table_bloat-default-0199c0de-7a11-7000-8000-00000000beef"


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, and a storage that knows no paths, as object stores do not."""
    return FileSystemStorage(tmp_path) if request.param == "folder" else InMemoryStorage()


@pytest.fixture
def store(storage: Storage) -> LogStore:
    return LogStore(storage, "reports", UTC)


def run_of(run_id: str, days_later: int = 0, **changes: str) -> ReportDocument:
    """Return the example as another run."""
    later = timedelta(days=days_later)
    run = DOCUMENT.run
    assert run.started_at is not None
    assert run.finished_at is not None
    return replace(
        DOCUMENT,
        run=replace(
            run,
            run_id=run_id,
            started_at=run.started_at + later,
            finished_at=run.finished_at + later,
            **changes,  # type: ignore[arg-type]
        ),
    )


def test_a_run_is_filed_under_its_date_checklist_task_target_and_id(
    store: LogStore, storage: Storage
) -> None:
    files = store.save(DOCUMENT, "weekly")
    assert [file.name for file in files] == [f"{STEM}.html", f"{STEM}.txt", f"{STEM}.json"]
    for file in files:
        assert storage.size(file.name) == file.size_bytes > 0
    with storage.open(f"{STEM}.txt") as text:
        assert text.read().decode().startswith("Table bloat of default\n")


def test_the_date_is_that_of_the_configured_time_zone(storage: Storage) -> None:
    store = LogStore(storage, "", ZoneInfo("America/Los_Angeles"))
    (name, *_) = (file.name for file in store.save(DOCUMENT, "weekly"))
    assert name.startswith("2026/11/22/weekly-")
    with storage.open(name.replace(".html", ".txt")) as text:
        assert "finished  2026-11-22 20:02 -0800" in " ".join(text.read().decode().split(" " * 2))


def test_what_was_saved_is_read_back_by_any_of_its_names(store: LogStore) -> None:
    store.save(DOCUMENT, "weekly")
    expected = plain_document(DOCUMENT)
    for suffix in ("", ".json", ".html", ".txt"):
        assert store.read(STEM + suffix) == expected


def test_a_run_without_a_checklist_is_manual(store: LogStore) -> None:
    assert "/manual-report_table_bloat-" in store.save(DOCUMENT, "")[0].name


def test_saving_a_run_again_replaces_its_own_files(store: LogStore, storage: Storage) -> None:
    store.save(DOCUMENT, "weekly")
    again = replace(DOCUMENT, report=replace(DOCUMENT.report, summary="Second thoughts."))
    files = store.save(again, "weekly")
    _, names = storage.listdir("reports/2026/11/23")
    assert sorted(f"reports/2026/11/23/{name}" for name in names) == sorted(f.name for f in files)
    assert store.read(STEM).report.summary == "Second thoughts."


def test_one_run_never_overwrites_another(store: LogStore) -> None:
    store.save(run_of("one"), "weekly")
    store.save(run_of("two"), "weekly")
    assert {file.run_id for file in store.find()} == {"one", "two"}


@pytest.mark.parametrize("target", ["../../etc/passwd", "a/b", ".hidden", "Ω" * 200, "", "a-b c"])
def test_the_name_of_a_target_cannot_leave_its_place(store: LogStore, target: str) -> None:
    files = store.save(run_of("one", target=target), "weekly")
    for file in files:
        assert file.name.startswith("reports/2026/11/23/weekly-report_table_bloat-")
        assert file.name.count("/") == 4
        assert len(file.name.rpartition("/")[2].encode()) < 255
    (found,) = store.find(target=target)
    assert found.target == file_safe(target)
    assert store.read(found.name).run.target == target


def test_reports_are_found_by_task_target_checklist_and_days_newest_first(store: LogStore) -> None:
    store.save(run_of("one"), "weekly")
    store.save(run_of("two", 1, target="other"), "daily")
    store.save(run_of("three", 40, task="maintenance.check_disk_space"), "daily")
    ids = [file.run_id for file in store.find()]
    assert ids == ["three", "two", "one"]
    assert [f.run_id for f in store.find(task="maintenance.report_table_bloat")] == ["two", "one"]
    assert [f.run_id for f in store.find(task="check_disk_space")] == ["three"]
    assert [f.run_id for f in store.find(target="other")] == ["two"]
    assert [f.run_id for f in store.find(checklist="daily", limit=1)] == ["three"]
    assert [f.run_id for f in store.find(since=date(2026, 11, 24))] == ["three", "two"]
    assert [f.run_id for f in store.find(until=date(2026, 11, 24))] == ["two", "one"]
    assert store.find(since=date(2027, 1, 3)) == []


def test_reports_of_one_day_are_sorted_by_when_they_were_written(tmp_path: Path) -> None:
    store = LogStore(FileSystemStorage(tmp_path), "reports", UTC)
    for age_seconds, run_id in enumerate(["c", "a", "b"]):
        json_name = store.save(run_of(run_id), "weekly")[-1].name
        os.utime(tmp_path / json_name, times=(1e9 - age_seconds, 1e9 - age_seconds))
    assert [file.run_id for file in store.find()] == ["c", "a", "b"]


def test_an_empty_store_has_no_reports(store: LogStore) -> None:
    assert store.find() == []


def test_an_incomplete_report_is_not_listed(store: LogStore, storage: Storage) -> None:
    storage.save(f"{STEM}.html", ContentFile(b"half"))
    storage.save("reports/2026/11/23/notes.json", ContentFile(b"{}"))
    storage.save("reports/2026/99/99/weekly-a-b-c.json", ContentFile(b"{}"))
    assert store.find() == []


def test_a_report_that_is_not_there_is_answered_with_the_nearest(store: LogStore) -> None:
    store.save(DOCUMENT, "weekly")
    with pytest.raises(UnknownName, match=f'Did you mean "{STEM}.json"'):
        store.read(STEM.replace("default", "defualt"))
    with pytest.raises(UnknownName, match="There is no report"):
        store.read("reports/2020/01/01/none")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "reports/../../x.json"])
def test_only_names_inside_the_store_are_read(store: LogStore, name: str) -> None:
    with pytest.raises(UnknownName, match="is no name of a report"):
        store.read(name)


@pytest.mark.parametrize("content", [b"{}", b"not json", b'{"schema_version": 99}', b"\xff\xfe"])
def test_a_file_that_is_no_report_is_refused_with_the_reason(
    store: LogStore, storage: Storage, content: bytes
) -> None:
    storage.save(f"{STEM}.json", ContentFile(content))
    with pytest.raises(UnreadableReport, match="cannot be read"):
        store.read(STEM)


def test_deleting_removes_the_files_and_what_is_gone_is_fine(store: LogStore) -> None:
    names = [file.name for file in store.save(DOCUMENT, "weekly")]
    store.save(run_of("other"), "weekly")
    store.delete(names)
    store.delete(names)
    assert [file.run_id for file in store.find()] == ["other"]


def test_deleting_the_last_report_of_a_day_leaves_no_empty_folders(tmp_path: Path) -> None:
    store = LogStore(FileSystemStorage(tmp_path), "reports", UTC)
    store.delete([file.name for file in store.save(DOCUMENT, "weekly")])
    assert list(tmp_path.iterdir()) == []


class Interrupted(FileSystemStorage):
    """A storage on which somebody else has a turn once, between the making of a folder and of the file in it."""

    def __init__(self, location: Path, turn: Callable[[Path], None]) -> None:
        super().__init__(location)
        self._turns = [turn]

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        while self._turns:
            self._turns.pop()(path.parent)
        path.write_bytes(content.read())
        return name


def test_who_begins_to_save_leaves_the_folder_that_another_has_just_made(tmp_path: Path) -> None:
    first_is_written, second_has_begun = Event(), Event()

    class Waiting(FileSystemStorage):
        def save(self, *arguments: Any, **options: Any) -> str:
            second_has_begun.set()
            assert first_is_written.wait(10)
            return super().save(*arguments, **options)

    with ThreadPoolExecutor(1) as others:

        def begin(folder: Path) -> None:
            others.submit(LogStore(Waiting(tmp_path), "reports", UTC).save, run_of("two"), "weekly")
            assert second_has_begun.wait(10)
            assert folder.is_dir()

        LogStore(Interrupted(tmp_path, begin), "reports", UTC).save(run_of("one"), "weekly")
        first_is_written.set()

    written = sorted(path.name.rpartition("-")[2] for path in tmp_path.rglob("*.*"))
    assert written == ["one.html", "one.json", "one.txt", "two.html", "two.json", "two.txt"]


def test_a_folder_that_is_removed_before_the_file_is_in_it_is_made_again(tmp_path: Path) -> None:
    def remove(folder: Path) -> None:
        LogStore(FileSystemStorage(tmp_path), "reports", UTC).delete([f"{STEM}.json"])
        assert not folder.exists()

    files = LogStore(Interrupted(tmp_path, remove), "reports", UTC).save(run_of("one"), "weekly")

    assert all((tmp_path / file.name).stat().st_size == file.size_bytes for file in files)


def test_objects_are_deleted_several_at_once_and_none_before_the_json_of_all() -> None:
    together, deleted = Barrier(2), []

    class Slow(InMemoryStorage):
        def delete(self, name: str) -> None:
            together.wait(10)
            deleted.append(name.rpartition(".")[2])

    files = [f"reports/{name}.{suffix}" for name in "ab" for suffix in ("html", "json")]
    LogStore(Slow(), "reports", UTC).delete(files)

    assert deleted == ["json", "json", "html", "html"]


def test_an_object_that_cannot_be_deleted_ends_the_deleting() -> None:
    asked = []

    class Down(InMemoryStorage):
        def delete(self, name: str) -> None:
            asked.append(name)
            raise ConnectionError("gone")

    with pytest.raises(LogStoreUnavailable, match="could not delete"):
        LogStore(Down(), "reports", UTC).delete(["a.json", "a.html", "a.txt"])
    assert asked == ["a.json"]


def test_the_permissions_that_the_storage_was_given_are_kept(tmp_path: Path) -> None:
    storage = FileSystemStorage(
        tmp_path, file_permissions_mode=0o640, directory_permissions_mode=0o750
    )
    for file in LogStore(storage, "reports", UTC).save(DOCUMENT, "weekly"):
        assert (tmp_path / file.name).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "reports").stat().st_mode & 0o777 == 0o750


def test_what_a_killed_process_left_behind_does_not_disturb(tmp_path: Path) -> None:
    storage = FileSystemStorage(tmp_path)
    storage.save(f"{STEM}.json.part", ContentFile(b"half"))
    store = LogStore(storage, "reports", UTC)
    assert store.find() == []
    store.save(DOCUMENT, "weekly")
    assert not any(path.suffix == ".part" for path in tmp_path.rglob("*"))
    assert len(store.find()) == 1


def test_a_storage_that_cannot_be_written_is_unavailable_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    store = LogStore(FileSystemStorage(tmp_path), "reports", UTC)
    with pytest.raises(LogStoreUnavailable, match=r"could not .*reports/2026/11/23"):
        store.save(DOCUMENT, "weekly")


class FullDisk(FileSystemStorage):
    """A folder whose disk is full from the second file on: the device that always is says so."""

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        if ".txt" in name:
            with Path("/dev/full").open("wb", buffering=0) as device:
                device.write(b"x")
        saved: str = super()._save(name, content)  # type: ignore[misc]
        return saved


def test_a_full_disk_is_unavailable_and_leaves_no_half_report(tmp_path: Path) -> None:
    store = LogStore(FullDisk(tmp_path), "reports", UTC)
    with pytest.raises(LogStoreUnavailable, match=os.strerror(errno.ENOSPC)) as caught:
        store.save(DOCUMENT, "weekly")
    assert "free space" in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class ReadOnlyFromThen(FullDisk):
    """A full disk that the kernel mounts read-only at the first error."""

    def delete(self, name: str) -> None:
        if self.exists(name.replace(".txt", ".html")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        super().delete(name)


def test_what_could_not_be_taken_back_is_named(tmp_path: Path) -> None:
    store = LogStore(ReadOnlyFromThen(tmp_path), "reports", UTC)
    with pytest.raises(LogStoreUnavailable) as caught:
        store.save(DOCUMENT, "weekly")
    left = [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()]
    assert len(left) == 1
    assert set(left) < set(caught.value.left_over)


class ServiceDown(Storage):
    """A remote storage whose client raises an error of its own."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        raise RuntimeError("no answer from https://key:hunter2@objects.example")

    def delete(self, name: str) -> None:
        self.listdir(name)


def test_errors_of_any_backend_are_unavailable_without_their_passwords() -> None:
    store = LogStore(ServiceDown(), "reports", UTC)
    for call in (store.find, lambda: store.save(DOCUMENT, "weekly")):
        with pytest.raises(LogStoreUnavailable) as caught:
            call()
        assert "RuntimeError: no answer from https://key:***@objects.example" in str(caught.value)


def test_no_password_is_in_any_file(store: LogStore, storage: Storage) -> None:
    for file in store.save(DOCUMENT, "weekly"):
        with storage.open(file.name) as opened:
            assert b"hunter2" not in opened.read()


def test_names_are_read_back_as_they_were_made() -> None:
    stem = stem_of(DOCUMENT.run, "weekly", UTC)
    file = report_file(f"reports/{stem}.json")
    assert file is not None
    assert (file.day, file.checklist) == (date(2026, 11, 23), "weekly")
    assert (file.task, file.target) == ("report_table_bloat", "default")
    assert file.run_id == DOCUMENT.run.run_id
    assert report_file(f"reports/{stem}.html") is None
    assert report_file("weekly-a-b-c.json") is None


def test_the_json_in_the_store_is_the_document(store: LogStore, storage: Storage) -> None:
    store.save(DOCUMENT, "weekly")
    with storage.open(f"{STEM}.json") as opened:
        body = json.loads(opened.read())
    assert body["schema_version"] == 1
    assert body["run"]["run_id"] == DOCUMENT.run.run_id


def test_the_configured_store_writes_into_the_storage_of_the_settings(tmp_path: Path) -> None:
    storages = {
        "audit": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path)},
        }
    }
    reports = {"storage": "audit", "prefix": "logs/maintenance"}
    with override_settings(STORAGES=storages, MAINTENANCE={"reports": reports}):
        configuration.cache_clear()
        files = configured_store().save(DOCUMENT, "weekly")
    configuration.cache_clear()
    assert (tmp_path / files[-1].name).is_file()
    assert files[-1].name.startswith("logs/maintenance/2026/11/23/")


def test_a_storage_that_the_settings_do_not_have_is_answered_with_the_nearest() -> None:
    with override_settings(MAINTENANCE={"reports": {"storage": "maintenence"}}):
        configuration.cache_clear()
        with pytest.raises(ConfigurationError, match='Did you mean "maintenance"'):
            configured_store()
    configuration.cache_clear()
