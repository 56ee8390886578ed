"""Walks over real folders and storages: what is replaced, what is left, what a kill leaves."""

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, storages
from django.test import override_settings
from PIL import ImageFile

from maintenance.conf import MediaTarget, parse_configuration
from maintenance.core.errors import Cancelled, ConfigurationError, Skipped, TargetUnavailable
from maintenance.core.job import Job, OpenWindow
from maintenance.core.plans import Outcome
from maintenance.core.reports import Report
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.registry import task_named
from maintenance.reports.plain import plain, plain_report
from maintenance.web.images.folder import FolderPlace
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.places import PART_SUFFIX, MediaFile, Passed
from maintenance.web.images.recode import LeftAlone
from maintenance.web.images.run import optimize_images
from maintenance.web.images.stored import StoragePlace
from service.embedded.account import server_account
from tests.images import ODD_FILE, encoded, exif, opened, picture, png_bomb, write
from tests.small_disks import small_disk
from tests.unprivileged import without_root

LARGE = encoded(picture(size=(900, 600)), "JPEG", quality=97)
SMALL = encoded(picture(), "JPEG", quality=50)


class KeptSteps:
    """Steps as the ledger keeps them: as JSON."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def done(self) -> Mapping[str, Outcome]:
        return {key: Outcome.from_json(body) for key, body in self.kept.items()}

    def record(self, key: str, outcome: Outcome) -> None:
        self.kept[key] = json.loads(json.dumps(plain(outcome.to_json())))


def optimize(
    target: MediaTarget,
    previous: Report | None = None,
    steps: KeptSteps | None = None,
    **options: Any,
) -> Report:
    state = json.loads(json.dumps(plain(previous.state))) if previous else {}
    job = Job("site", target, OptimizeOptions(**options), previous_state=state)
    report = optimize_images(replace(job, steps=steps) if steps else job)
    return replace(plain_report(report), state=plain(report.state))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def passed(report: Report) -> dict[str, int]:
    for table in report.tables:
        if table.title == "Passed by":
            return {row[0]: row[1] for row in table.rows}
    return {}


def test_images_are_made_smaller_and_the_bytes_saved_are_true(media: Path) -> None:
    write(media, "covers/a.jpg", LARGE)
    write(media, f"covers/{ODD_FILE}", LARGE)
    write(media, "covers/b.png", encoded(picture("RGBA", (900, 600)), "PNG"))
    write(media, "notes.txt", b"no image")
    before = content(media)

    report = optimize(MediaTarget(path=str(media)))

    after = content(media)
    saved = sum(map(len, before.values())) - sum(map(len, after.values()))
    assert after.keys() == before.keys()
    assert after["notes.txt"] == b"no image"
    assert all(opened(after[name]).size == (800, 533) for name in after if name != "notes.txt")
    assert report.facts["saved_bytes"] == saved > 0
    assert sum(sample.value for sample in report.samples if "bytes" in sample.metric) == saved
    assert {o.action.subject for o in report.outcomes} == set(after) - {"notes.txt"}
    assert report.findings == ()


def test_a_dry_run_says_the_same_and_touches_nothing(media: Path) -> None:
    write(media, "a.jpg", LARGE)
    before = (media / "a.jpg").stat()
    promised = optimize(MediaTarget(path=str(media)), dry_run=True)

    after = (media / "a.jpg").stat()
    assert [path.name for path in media.rglob("*")] == ["a.jpg"]
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert promised.samples == ()
    assert promised.state == {}
    done = optimize(MediaTarget(path=str(media)), promised)
    assert promised.facts["saved_bytes"] == done.facts["saved_bytes"]
    assert (promised.outcomes[0].verdict, done.outcomes[0].verdict) == ("planned", "worked")


def test_nothing_is_looked_at_twice_until_it_changes(media: Path) -> None:
    for name in ("a.jpg", "b/c.jpg", "small.jpg"):
        write(media, name, SMALL if name == "small.jpg" else LARGE)
    target = MediaTarget(path=str(media))
    first = optimize(target)
    second = optimize(target, first)
    write(media, "b/c.jpg", LARGE)
    third = optimize(target, second)
    stricter = optimize(MediaTarget(path=str(media), quality=60), third)

    assert first.facts["looked_at_images"] == 3
    assert (second.facts["looked_at_images"], second.facts["looked_at_before"]) == (0, 3)
    assert (third.facts["looked_at_images"], third.facts["rewritten_images"]) == (1, 1)
    assert stricter.facts["looked_at_images"] == 3
    assert optimize(target, third, again=True).facts["looked_at_images"] == 3


def test_runs_with_a_budget_follow_one_another_until_all_is_done(media: Path) -> None:
    names = [f"{n % 4}/{n:02}.jpg" for n in range(24)]
    for name in names:
        write(media, name, LARGE)
    target = MediaTarget(path=str(media), jobs=1)
    reports: list[Report] = []
    for _ in range(30):
        reports.append(optimize(target, reports[-1] if reports else None, time_budget_seconds=0.05))
        if not reports[-1].state["cursor"]:
            break

    assert len(reports) > 2
    assert "images-unfinished" in codes(reports[0])
    assert sum(report.facts["looked_at_images"] for report in reports) == len(names)
    assert sum(report.facts["rewritten_images"] for report in reports) == len(names)
    assert optimize(target, reports[-1]).facts["looked_at_images"] == 0


def test_a_run_ends_when_its_window_closes(media: Path) -> None:
    write(media, "a.jpg", LARGE)
    job = Job("site", MediaTarget(path=str(media)), OptimizeOptions(), window=OpenWindow(1.0, 2.0))
    assert "window closed" in optimize_images(job).summary
    assert optimize_images(replace(job, by_hand=True)).facts["rewritten_images"] == 1


class StopAt:
    """Progress that ends a run as a cancellation does."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        if phase == self._phase:
            raise Cancelled("Cancelled on request.")

    def check(self) -> None:
        """Hold the run: only the named phase ends it."""


def test_another_attempt_repeats_nothing_and_reports_the_whole(media: Path) -> None:
    for n in range(12):
        write(media, f"{n:02}.jpg", LARGE)
    target, steps = MediaTarget(path=str(media), jobs=1), KeptSteps()
    with pytest.raises(Cancelled):
        optimize_images(Job("site", target, OptimizeOptions(), StopAt("at 06.jpg"), steps=steps))
    done = set(steps.kept)
    report = optimize(target, steps=steps)

    assert len(done) == 6
    assert len(steps.kept) == 12
    assert report.facts["looked_at_images"] == 12
    # Of those that were at work when it ended nobody was told; they are whole, and looked at again.
    assert report.facts["rewritten_images"] >= 12 - 4
    assert len(report.outcomes) == report.facts["rewritten_images"]
    assert {"00.jpg", "05.jpg"} <= {outcome.action.subject for outcome in report.outcomes}
    assert all(opened(data).width == 800 for data in content(media).values())


def test_hostile_files_are_named_and_never_a_traceback(media: Path, tmp_path: Path) -> None:
    outside = write(tmp_path, "outside.jpg", LARGE)
    write(media, "bomb.png", png_bomb())
    write(media, "cut.jpg", LARGE[: len(LARGE) // 2])
    write(media, "empty.webp", b"")
    write(media, "png.jpg", encoded(picture(), "PNG"))
    write(media, "huge.jpg", LARGE + bytes(2_000_000))
    (media / "link.jpg").symlink_to(outside)
    (media / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(media / "pipe.jpg")
    (Path(os.fsdecode(os.fsencode(media) + b"/caf\xe9.jpg"))).write_bytes(LARGE)
    write(media, "new\nline.jpg", LARGE[:100])
    write(media, "good.jpg", LARGE)
    before = content(media)
    target = MediaTarget(path=str(media), maximum_file_bytes=1_000_000)

    report = optimize(target)

    changed = {name for name, data in content(media).items() if data != before[name]}
    assert changed == {"good.jpg"}
    assert outside.read_bytes() == LARGE
    assert codes(report) == {
        "images-damaged", "images-too-many-pixels", "images-other-content", "images-too-large"
    }  # fmt: skip
    (damaged,) = (f for f in report.findings if f.code == "images-damaged")
    assert {one["name"] for one in damaged.evidence["files"]} == {
        "cut.jpg", "empty.webp", "new\\nline.jpg"
    }  # fmt: skip
    assert passed(report) == {"a symbolic link": 2, "a name not in UTF-8": 1}
    again = optimize(target, report)
    assert codes(again) == codes(report)
    assert again.facts["looked_at_images"] == 0


def _open_the_way_to(media: Path) -> None:
    """Let the account of :func:`without_root` come to a folder, and write there."""
    media.chmod(0o777)
    for parent in [*media.parents][:4]:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


def _give_away(media: Path) -> None:
    """Let the files belong to the account of :func:`without_root`."""
    account = server_account()
    if account is not None:
        for path in media.rglob("*.jpg"):
            os.chown(path, account.uid, account.gid)


def test_what_the_worker_may_not_read_or_write_is_named(media: Path) -> None:
    write(media, "open/a.jpg", LARGE)
    write(media, "open/secret.jpg", LARGE).chmod(0)
    write(media, "closed/b.jpg", LARGE)
    write(media, "fixed/c.jpg", LARGE)
    _give_away(media)
    for folder, mode in (("closed", 0o000), ("fixed", 0o555), ("open", 0o777)):
        (media / folder).chmod(mode)
    _open_the_way_to(media)

    def check() -> None:
        report = optimize(MediaTarget(path=str(media)))
        assert {"images-unreadable", "images-unwritable"} <= codes(report), report
        assert any("cannot be read" in reason for reason in passed(report)), report
        assert optimize(MediaTarget(path=str(media)), report).facts["looked_at_images"] > 0

    without_root(check)


def test_what_cannot_be_replaced_is_not_read(media: Path) -> None:
    cut = LARGE[: len(LARGE) // 2]
    os.link(write(media, "linked/a.jpg", cut), media / "other name")
    write(media, "fixed/b.jpg", cut)
    _give_away(media)
    (media / "fixed").chmod(0o555)
    if server_account() is not None:
        write(media, "open/c.jpg", cut).chmod(0)  # another user's
        (media / "open").chmod(0o777)
    _open_the_way_to(media)

    def check() -> None:
        for dry_run in (True, False):
            report = optimize(MediaTarget(path=str(media)), dry_run=dry_run)
            assert codes(report) == {"images-unwritable"}, report.findings
            assert "has other hard links" in str([table.rows for table in report.tables])

    without_root(check)
    (media / "fixed").chmod(0o755)


class Vanishing(FolderPlace):
    """A folder whose files are gone, or other ones, when they are read."""

    def __init__(self, path: str, act: Callable[[Path], object]) -> None:
        super().__init__(path)
        self._act = act

    def walk(self, after: str = "") -> Iterator[MediaFile | Passed]:
        for entry in super().walk(after):
            if entry.name == "b.jpg":
                self._act(self._root / entry.name)
            yield entry


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Path.unlink, "vanished meanwhile"),
        (lambda path: path.write_bytes(SMALL), "changed while it was at work"),
    ],
)
def test_what_changes_in_mid_walk_is_left_alone(
    media: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], object], said: str
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(media, name, LARGE)
    place = Vanishing(str(media), act)
    monkeypatch.setattr("maintenance.web.images.run.place_of", lambda *_, **__: place)
    report = optimize(MediaTarget(path=str(media)))

    assert report.facts["rewritten_images"] == 2
    assert said in str([table.rows for table in report.tables])


def test_mode_owner_and_attributes_stay_and_the_time_tells_of_the_change(media: Path) -> None:
    path = write(media, "a.jpg", LARGE)
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    optimize(MediaTarget(path=str(media)))

    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_mtime > before.st_mtime


def test_neither_group_nor_access_list_of_the_folder_reach_a_file_that_had_others(
    media: Path,
) -> None:
    path = write(media, "a.jpg", LARGE)
    path.chmod(0o640)
    others = {4321} if os.geteuid() == 0 else {*os.getgroups()} - {path.stat().st_gid}
    if others:
        os.chown(media, -1, min(others))
    media.chmod(0o2775)
    with suppress(OSError):  # a file system without access lists
        os.setxattr(media, "system.posix_acl_default", _acl_for_user(4321))
    before, attributes = path.stat(), os.listxattr(path)
    report = optimize(MediaTarget(path=str(media)))

    after = path.stat()
    assert report.facts["rewritten_images"] == 1
    assert (after.st_gid, after.st_mode) == (before.st_gid, before.st_mode)
    assert os.listxattr(path) == attributes


def _acl_for_user(number: int) -> bytes:
    """Return a list as the kernel stores it (linux/posix_acl_xattr.h) that lets one user more read and write."""
    nobody = 2**32 - 1
    entries = ((1, 7, nobody), (2, 6, number), (4, 5, nobody), (0x10, 7, nobody), (0x20, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_originals_are_kept_once_and_never_walked(media: Path) -> None:
    write(media, "covers/a.jpg", LARGE)
    target = MediaTarget(path=str(media), originals="originals")
    first = optimize(target)
    kept = media / "originals/covers/a.jpg"
    assert kept.read_bytes() == LARGE
    write(media, "covers/a.jpg", encoded(picture(size=(1000, 700)), "JPEG", quality=99))
    second = optimize(target, first)

    assert second.facts["rewritten_images"] == 1
    assert kept.read_bytes() == LARGE
    assert second.facts["files"] == 1


def test_an_original_kept_by_a_killed_run_stands_in_nobodys_way(media: Path) -> None:
    path = write(media, "a.jpg", LARGE)
    (media / "originals").mkdir()
    os.link(path, media / "originals/a.jpg")
    report = optimize(MediaTarget(path=str(media), originals="originals"))
    assert report.facts["rewritten_images"] == 1
    assert (media / "originals/a.jpg").read_bytes() == LARGE


def test_a_file_with_other_names_is_left_alone(media: Path, tmp_path: Path) -> None:
    path = write(media, "a.jpg", LARGE)
    os.link(path, tmp_path / "other name.jpg")
    assert optimize(MediaTarget(path=str(media))).facts["rewritten_images"] == 0


def test_excluded_names_are_nobodys_business(media: Path) -> None:
    for name in ("a.jpg", "cache/b.jpg", "x/raw-c.jpg"):
        write(media, name, LARGE)
    target = MediaTarget(path=str(media), exclude=("cache", "x/raw-*"))
    assert optimize(target).facts["rewritten_images"] == 1


_KILLED = """
import os, signal, sys
from pathlib import Path
from maintenance.conf import MediaTarget
from maintenance.core.job import Job
from maintenance.web.images import folder
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.run import optimize_images

moment = sys.argv[2]
def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
real_replace, real_fsync = Path.replace, os.fsync
if moment == "half written":
    folder.take_after = die
elif moment == "before the rename":
    Path.replace = die
elif moment == "after the rename":
    def replace(self, target):
        real_replace(self, target)
        die()
    Path.replace = replace
optimize_images(Job("site", MediaTarget(path=sys.argv[1], jobs=1), OptimizeOptions()))
"""


@pytest.mark.parametrize("moment", ["half written", "before the rename", "after the rename"])
def test_kill_9_leaves_the_old_file_or_the_new_one_whole(media: Path, moment: str) -> None:
    write(media, "a.jpg", LARGE)
    write(media, "b.jpg", LARGE)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(media), moment], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    left = content(media)
    parts = [name for name in left if name.endswith(PART_SUFFIX)]
    is_new = opened(left["a.jpg"]).width == 800
    assert is_new == (moment == "after the rename")
    assert is_new or left["a.jpg"] == LARGE
    assert left["b.jpg"] == LARGE
    assert bool(parts) == (moment != "after the rename")

    for name in parts:
        os.utime(media / name, (0, 0))  # found by a later run
    report = optimize(MediaTarget(path=str(media)))
    assert sorted(content(media)) == ["a.jpg", "b.jpg"]
    assert report.facts["rewritten_images"] == (1 if is_new else 2)


def test_half_an_image_is_never_taken_for_a_whole_one(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(Skipped, match="LOAD_TRUNCATED_IMAGES"):
        optimize(MediaTarget(path=str(media)))


def test_without_pillow_the_task_says_what_to_install(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Skipped, match=r"celery-maintenance\[images\]"):
        optimize(MediaTarget(path=str(media)))


def test_a_folder_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="is no folder"):
        optimize(MediaTarget(path=str(tmp_path / "gone")))


def test_it_is_off_until_the_target_allows_it() -> None:
    spec = task_named("optimize_images")
    with pytest.raises(Skipped, match=r'add allow = \["rewrite_images"\]'):
        require_leave(spec, "site", MediaTarget(path="/media"))
    require_leave(spec, "site", MediaTarget(path="/media", allow=("rewrite_images",)))


MEMORY = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "media": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}


def test_a_storage_of_django_is_walked_and_written_by_its_own_api() -> None:
    with override_settings(STORAGES=MEMORY):
        storage = storages["media"]
        for name in ("covers/a.jpg", "covers/deep/b.jpg", ODD_FILE):
            storage.save(name, ContentFile(LARGE))
        target = MediaTarget(storage="media", originals="originals")
        report = optimize(target)

        assert report.facts["rewritten_images"] == 3
        for name in ("covers/a.jpg", "covers/deep/b.jpg", ODD_FILE):
            assert opened(storage.open(name).read()).width == 800
            assert storage.open(f"originals/{name}").read() == LARGE
        assert optimize(target, report).facts["looked_at_images"] == 0
        assert storage.listdir("covers") == (["deep"], ["a.jpg"])


class Interrupted(InMemoryStorage):
    """A storage whose process dies at the n-th change."""

    def __init__(self) -> None:
        super().__init__()
        self.changes_left = 10**6

    def _count(self) -> None:
        self.changes_left -= 1
        if self.changes_left < 0:
            raise KeyboardInterrupt

    def _save(self, name: str, content: Any) -> str:
        self._count()
        if self.changes_left == 0:  # in the middle of this one
            content = ContentFile(content.read()[:1000])
        return super()._save(name, content)

    def delete(self, name: str) -> None:
        self._count()
        if self.exists(name):
            super().delete(name)


@pytest.mark.parametrize("changes", range(7))
def test_a_storage_without_renames_loses_nothing_wherever_it_is_interrupted(changes: int) -> None:
    storage = Interrupted()
    storage.save("covers/a.jpg", ContentFile(LARGE))
    smaller = encoded(picture(size=(800, 533)), "JPEG", quality=85)
    place = StoragePlace(storage)
    (file,) = place.walk()
    assert isinstance(file, MediaFile)
    storage.changes_left = changes
    with suppress(KeyboardInterrupt, LeftAlone):
        place.replace(file, smaller)
    storage.changes_left = 10**6

    walked = [entry.name for entry in StoragePlace(storage).walk()]

    assert walked[-1] == "covers/a.jpg"
    assert storage.open("covers/a.jpg").read() in {LARGE, smaller}
    assert storage.listdir("covers") == ([], ["a.jpg"])


def test_an_alias_that_does_not_exist_is_named() -> None:
    with override_settings(STORAGES=MEMORY), pytest.raises(ConfigurationError, match="media"):
        optimize(MediaTarget(storage="meida"))


def test_a_storage_that_is_a_folder_is_replaced_by_renames(media: Path) -> None:
    backend = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(media)},
    }
    path = write(media, "a.jpg", LARGE)
    inode = path.stat().st_ino
    with override_settings(STORAGES={**MEMORY, "media": backend}):
        assert optimize(MediaTarget(storage="media")).facts["rewritten_images"] == 1
    assert path.stat().st_ino != inode


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, 'give either "path" or "storage"'),
        ({"path": "media"}, "must be absolute"),
        ({"path": "/m", "originals": "../o"}, "inside of the place"),
        ({"path": "/m", "qualty": 3}, 'Did you mean "quality"'),
        ({"path": "/m", "references": [{"database": "x", "sql": "s"}]}, "which is no database"),
    ],
)
def test_a_wrong_configuration_is_named(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_configuration({"media": {"site": given}})


def test_the_place_where_a_picture_was_taken_is_not_told_any_more(media: Path) -> None:
    taken = exif(position=True)
    write(media, "a.jpg", encoded(picture(size=(900, 600)), "JPEG", quality=97, exif=taken))
    write(media, "b.jpg", encoded(picture(), "JPEG", quality=50, exif=taken))
    report = optimize(MediaTarget(path=str(media)))

    assert not opened((media / "a.jpg").read_bytes()).getexif()
    assert report.facts["private_metadata_dropped"] == 1
    (finding,) = report.findings
    assert finding.sentence == (
        "1 image that could not be made smaller still tells where it was taken or by whose camera;"
        " b.jpg is one."
    )


def test_a_full_disk_ends_the_run_and_leaves_every_file_whole(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        for n in range(6):
            write(disk, f"{n}.jpg", LARGE)
        filler = disk / "filler"
        with suppress(OSError), filler.open("wb") as opened_file:
            while True:
                opened_file.write(bytes(4096))
        report = optimize(MediaTarget(path=str(disk)))

        assert "No space left on device" in report.summary
        assert codes(report) == {"images-unfinished"}
        assert {name: data for name, data in content(disk).items() if name != "filler"} == {
            f"{n}.jpg": LARGE for n in range(6)
        }
        filler.unlink()
        assert optimize(MediaTarget(path=str(disk)), report).facts["rewritten_images"] == 6
