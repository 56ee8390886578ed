"""Reading on in a log, whatever rotates it: every line once, none left out."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maintenance.core.errors import TargetUnavailable
from maintenance.web.log_reading import read_on

YEAR_SECONDS = 365 * 86_400.0


class Log:
    """A log that a server writes and logrotate rotates; ``written`` is the truth."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.log"
        self.written: list[bytes] = []
        self.read: list[bytes] = []
        self.state: dict = {}
        self.path.touch()

    def write(self, lines: int, *, width: int = 40) -> None:
        new = [b"%d %s" % (len(self.written) + n, b"x" * (width + n % 7)) for n in range(lines)]
        self.written += new
        with self.path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in new))

    def read_on(
        self,
        *,
        chunk_bytes: int = 1 << 20,
        pattern: str = "",
        first_run_seconds: float = YEAR_SECONDS,
    ):
        taken: list[bytes] = []
        reading = read_on(
            pattern or str(self.path),
            self.state,
            lambda lines, _path, _offset: taken.extend(lines[:-1].split(b"\n")),
            first_run_seconds=first_run_seconds,
            chunk_bytes=chunk_bytes,
        )
        self.read += taken
        self.state = json.loads(json.dumps(reading.state))
        return reading

    def shift(self) -> None:
        """Give each rotated file the next number, as logrotate does."""
        rotated = sorted(self.path.parent.glob("access.log.*"), key=lambda p: -_number(p))
        for path in rotated:
            ending = ".gz" if path.suffix == ".gz" else ""
            path.rename(path.with_name(f"access.log.{_number(path) + 1}{ending}"))

    def rename(self) -> None:
        self.shift()
        self.path.rename(self.path.with_name("access.log.1"))
        self.path.touch()

    def copytruncate(self) -> None:
        self.shift()
        shutil.copyfile(self.path, self.path.with_name("access.log.1"))
        os.truncate(self.path, 0)

    def compress(self) -> None:
        for path in self.path.parent.glob("access.log.*"):
            if path.suffix != ".gz":
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()

    def assert_each_line_once(self) -> None:
        assert sorted(self.read, key=lambda line: int(line.split()[0])) == self.written


def _number(path: Path) -> int:
    return int(path.name.removesuffix(".gz").rpartition(".")[2])


@contextmanager
def a_log() -> Iterator[Log]:
    with tempfile.TemporaryDirectory() as folder:
        yield Log(Path(folder))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 40)),
        st.tuples(st.just("read"), st.integers(1, 4096)),
        st.tuples(st.sampled_from(["rename", "copytruncate", "compress"]), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_any_chunking_and_any_rotation_equal_one_reading_of_all(steps):
    with a_log() as log:
        for step, number in steps:
            if step == "write":
                log.write(number)
            elif step == "read":
                log.read_on(chunk_bytes=number)
            else:
                getattr(log, step)()
        reading = log.read_on()
        log.assert_each_line_once()
        assert reading.lost == []
        assert log.read_on().read_bytes == 0


def test_a_line_without_its_end_waits():
    with a_log() as log:
        log.write(2)
        with log.path.open("ab") as file:
            file.write(b"2 half")
        assert log.read_on().waiting_bytes == 6
        log.assert_each_line_once()
        with log.path.open("ab") as file:
            file.write(b" and half\n")
        log.written.append(b"2 half and half")
        log.read_on()
        log.assert_each_line_once()


def test_a_copy_in_the_making_is_left_alone():
    with a_log() as log:
        log.write(100)
        log.read_on()
        log.write(50)
        content = log.path.read_bytes()
        copy = log.path.with_name("access.log.1")
        for part in (len(content) // 3, len(content)):
            copy.write_bytes(content[:part])
            log.read_on()
            log.assert_each_line_once()
        os.truncate(log.path, 0)
        log.write(60)
        log.read_on()
        log.assert_each_line_once()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_that_is_being_compressed_is_read_once(compress):
    with a_log() as log:
        log.write(200)
        log.read_on()
        log.write(100)
        log.rename()
        plain = log.path.with_name("access.log.1")
        packed = compress(plain.read_bytes())
        ending = {gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[compress]
        target = plain.with_name(plain.name + ending)
        target.write_bytes(packed[: len(packed) // 2])
        log.read_on()
        log.assert_each_line_once()
        target.write_bytes(packed)
        log.read_on()
        plain.unlink()
        log.write(10)
        log.read_on()
        log.assert_each_line_once()


def test_a_new_log_on_a_freed_inode_is_read_from_its_start():
    with a_log() as log:
        log.write(30)
        log.read_on()
        content = log.path.read_bytes()
        with log.path.open("r+b") as file:  # the same inode, another content, as long
            file.truncate(0)
        log.path.with_name("access.log.1").write_bytes(content)
        log.write(30)
        log.read_on()
        log.assert_each_line_once()


def test_what_vanished_before_its_end_was_read_is_named():
    with a_log() as log:
        log.write(30)
        log.read_on()
        os.truncate(log.path, 0)
        log.write(3)
        assert log.read_on().lost == [str(log.path)]
        assert log.read_on().lost == []


def test_rotated_files_that_are_removed_in_time_are_no_loss():
    with a_log() as log:
        log.write(30)
        log.rename()
        log.write(5)
        log.read_on()
        log.path.with_name("access.log.1").unlink()
        assert log.read_on().lost == []
        log.assert_each_line_once()


def test_the_first_run_passes_over_what_has_rested_for_long():
    with a_log() as log:
        log.write(30)
        log.rename()
        old = log.path.with_name("access.log.1")
        os.utime(old, (1e9, 1e9))
        log.write(5)
        assert log.read_on(first_run_seconds=3600).passed_over == 1
        assert log.read == log.written[30:]
        log.rename()
        log.write(5)
        log.read_on()
        assert log.read == log.written[30:]


def test_names_of_rotated_files():
    with a_log() as log:
        log.write(5)
        folder = log.path.parent
        for name in ("access.log-20261124", "access-20261123.log", "access.log.3.gz"):
            log.rename()
            content = log.path.with_name("access.log.1").read_bytes()
            (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
            log.path.with_name("access.log.1").unlink()
            log.write(5)
        (folder / "access.log.old").write_bytes(b"no line of ours\n")
        (folder / "other.access.log").write_bytes(b"nor this\n")
        log.read_on()
        log.assert_each_line_once()


def test_a_glob_and_a_missing_log():
    with a_log() as log:
        log.write(5)
        log.rename()
        log.write(5)
        log.read_on(pattern=str(log.path) + "*")
        log.assert_each_line_once()
        with pytest.raises(TargetUnavailable, match="There is no file"):
            log.read_on(pattern=str(log.path) + ".missing")


def test_a_damaged_file_is_named_and_the_others_are_read():
    with a_log() as log:
        log.write(500)
        content = gzip.compress(log.path.read_bytes())
        log.path.with_name("access.log.1.gz").write_bytes(content[:-200])
        log.path.unlink()
        log.path.touch()
        log.written.clear()
        reading = log.read_on()
        assert reading.damaged == [str(log.path) + ".1.gz"]
        assert log.read_on().damaged == []


def test_a_line_without_end_is_no_memory():
    with a_log() as log:
        with log.path.open("ab") as file:
            file.write(b"\0" * (5 << 20) + b"\n")
        log.write(3)
        reading = log.read_on(chunk_bytes=1 << 16)
        assert reading.oversized[0] == (str(log.path), 0)
        assert [line for line in log.read if line.isascii() and b"\0" not in line] == log.written


def test_the_state_keeps_nothing_of_the_log():
    with a_log() as log:
        log.write(50)
        log.read_on()
        assert "xxxx" not in json.dumps(log.state)
