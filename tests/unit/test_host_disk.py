"""Verdicts about file systems, from their numbers alone."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.host.disk import FileSystem, diagnose

ROOMY = FileSystem(
    mount_point="/srv",
    paths=("/srv/media",),
    size_bytes=1000,
    used_bytes=300,
    available_bytes=650,  # 50 are the superuser's reserve
    inodes=100,
    available_inodes=60,
    read_only=False,
)


def judge(file_system: FileSystem) -> list[Finding]:
    return list(diagnose(file_system, Thresholds()))


def test_a_file_system_with_room_is_no_finding() -> None:
    assert judge(ROOMY) == []


def test_the_reserve_of_the_superuser_is_no_room() -> None:
    assert ROOMY.used_ratio == 300 / 950


def test_a_full_file_system_is_a_warning_and_then_critical() -> None:
    (warning,) = judge(replace(ROOMY, used_bytes=800, available_bytes=150))
    (critical,) = judge(replace(ROOMY, used_bytes=900, available_bytes=50))
    assert (warning.code, warning.severity) == ("disk-space", Severity.WARNING)
    assert critical.severity is Severity.CRITICAL
    assert "84 % full" in warning.sentence


def test_inodes_run_out_on_their_own() -> None:
    (found,) = judge(replace(ROOMY, available_inodes=5))
    assert (found.code, found.severity) == ("disk-inodes", Severity.CRITICAL)


def test_a_file_system_without_a_fixed_number_of_inodes_has_no_inode_ratio() -> None:
    endless = replace(ROOMY, inodes=0, available_inodes=0)
    assert endless.used_inodes_ratio is None
    assert judge(endless) == []


def test_a_read_only_file_system_is_named_and_not_called_full() -> None:
    (found,) = judge(replace(ROOMY, used_bytes=1000, available_bytes=0, read_only=True))
    assert found.code == "file-system-read-only"


@given(
    used=st.integers(min_value=0, max_value=10**15),
    available=st.integers(min_value=0, max_value=10**15),
)
def test_the_used_share_is_a_ratio(used: int, available: int) -> None:
    ratio = replace(ROOMY, used_bytes=used, available_bytes=available).used_ratio
    assert 0.0 <= ratio <= 1.0
