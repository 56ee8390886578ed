"""Space and inodes of the file systems that configured paths lie on."""

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maintenance.conf import HostTarget, Thresholds
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import History, Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.plots import Bar, BarChart, Plot, over_time
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, percent

USED_METRIC = "disk_used_ratio"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system, as statvfs(3) describes it; ``paths`` are the configured ones on it.

    ``available_bytes`` is what an ordinary user may still write: the reserve of the superuser is
    neither used nor available, as in df(1). ``inodes`` is 0 where the file system makes them as
    it needs them (btrfs).
    """

    mount_point: str
    paths: tuple[str, ...]
    size_bytes: int
    used_bytes: int
    available_bytes: int
    inodes: int
    available_inodes: int
    read_only: bool

    @property
    def used_ratio(self) -> float:
        """Used share of what an ordinary user can have: "Use%" of df(1) before rounding."""
        usable = self.used_bytes + self.available_bytes
        return self.used_bytes / usable if usable else 1.0

    @property
    def used_inodes_ratio(self) -> float | None:
        """Used share of the inodes; ``None`` where there is no fixed number of them."""
        if self.inodes == 0:
            return None
        return 1 - self.available_inodes / self.inodes


@dataclass(frozen=True, slots=True)
class UnreadablePath:
    """A configured path that could not be looked at."""

    path: str
    missing: bool
    reason: str


def check_disk_space(job: Job[HostTarget, NoOptions], thresholds: Thresholds) -> Report:
    """Compare the used share of each file system, in bytes and in inodes, with the limits."""
    systems, unreadable = measure_paths(job.target.paths)
    findings = (
        *(finding for fs in systems for finding in diagnose(fs, thresholds)),
        *(_unreadable(path) for path in unreadable),
    )
    return Report(
        title=f"Disk space of {job.target_name}",
        summary=_summary(systems, unreadable, thresholds),
        findings=findings,
        tables=(Table.of("File systems", [_row(fs) for fs in systems]),) if systems else (),
        facts={
            "warning_ratio": thresholds.disk_warning_ratio,
            "critical_ratio": thresholds.disk_critical_ratio,
        },
        samples=tuple(sample for fs in systems for sample in _samples(fs)),
        plots=_plots(systems, job.history, thresholds),
        bars=_bars(systems),
    )


def _bars(systems: Sequence[FileSystem]) -> tuple[BarChart, ...]:
    bars = [
        Bar(fs.mount_point, (float(fs.used_bytes), float(fs.available_bytes)))
        for fs in sorted(systems, key=lambda fs: -fs.used_ratio)
    ]
    chart = BarChart.largest(
        "Space, the fullest first", "size_bytes", ("used", "available"), bars, stacked=True
    )
    return (chart,) if bars else ()


def _plots(
    systems: Sequence[FileSystem], history: History, thresholds: Thresholds
) -> tuple[Plot, ...]:
    stored = history.series_by_subject(USED_METRIC, [fs.mount_point for fs in systems])
    now = time.time()
    return tuple(
        plot
        for fs in systems
        for plot in over_time(
            f"Used share of {fs.mount_point}",
            USED_METRIC,
            stored.get(fs.mount_point, ()),
            Point(now, fs.used_ratio),
            limit=thresholds.disk_warning_ratio,
        )
    )


def measure_paths(paths: Sequence[str]) -> tuple[list[FileSystem], list[UnreadablePath]]:
    """Look at each path; paths on one file system become one row."""
    by_device: dict[int, list[str]] = {}
    unreadable: list[UnreadablePath] = []
    for path in paths:
        try:
            by_device.setdefault(os.stat(path).st_dev, []).append(path)  # noqa: PTH116 - the path is shown as it was written
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            unreadable.append(UnreadablePath(path, missing, error.strerror or str(error)))
    return [_file_system(found) for found in by_device.values()], unreadable


def _file_system(paths: Sequence[str]) -> FileSystem:
    status = os.statvfs(paths[0])
    unit = status.f_frsize
    return FileSystem(
        mount_point=mount_point(Path(paths[0])),
        paths=tuple(dict.fromkeys(paths)),
        size_bytes=status.f_blocks * unit,
        used_bytes=(status.f_blocks - status.f_bfree) * unit,
        available_bytes=status.f_bavail * unit,
        inodes=status.f_files,
        available_inodes=status.f_favail,
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )


def mount_point(path: Path) -> str:
    """Return the highest directory above ``path`` that lies on the same file system."""
    path = path.resolve()
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return str(path)


def diagnose(fs: FileSystem, thresholds: Thresholds) -> Iterator[Finding]:
    """Judge one file system. A read-only one cannot fill up, but that it is so may be a fault."""
    if fs.read_only:
        yield Finding(
            code="file-system-read-only",
            severity=Severity.WARNING,
            subject=fs.mount_point,
            sentence=f"{fs.mount_point} is mounted read-only, so nothing can be written there.",
            advice="If it was not mounted so on purpose, look for disk errors (dmesg) before use.",
        )
        return
    severity = _severity(fs.used_ratio, thresholds)
    if severity is not None:
        yield Finding(
            code="disk-space",
            severity=severity,
            subject=fs.mount_point,
            sentence=(
                f"{fs.mount_point} is {percent(fs.used_ratio)} full; {_gigabytes(fs.available_bytes)}"
                " are left."
            ),
            evidence={
                "used_ratio": fs.used_ratio,
                "available_bytes": fs.available_bytes,
                "size_bytes": fs.size_bytes,
                "paths": list(fs.paths),
            },
            advice="Remove what is not needed (old backups, logs, images), or enlarge the disk.",
            commands=(f"du -xh --max-depth=2 {shlex.quote(fs.mount_point)} | sort -h | tail -20",),
        )
    yield from _inode_findings(fs, thresholds)


def _inode_findings(fs: FileSystem, thresholds: Thresholds) -> Iterator[Finding]:
    ratio = fs.used_inodes_ratio
    if ratio is None:
        return
    severity = _severity(ratio, thresholds)
    if severity is None:
        return
    yield Finding(
        code="disk-inodes",
        severity=severity,
        subject=fs.mount_point,
        sentence=(
            f"{fs.mount_point} has used {percent(ratio)} of its inodes; {fs.available_inodes:,} more"
            " files can be made, however much space is left."
        ),
        evidence={"used_inodes_ratio": ratio, "available_inodes": fs.available_inodes},
        advice="Look for directories with very many small files (sessions, caches, mail queues).",
        commands=(
            f"du -x --inodes --max-depth=3 {shlex.quote(fs.mount_point)} | sort -n | tail -20",
        ),
    )


def _severity(ratio: float, thresholds: Thresholds) -> Severity | None:
    if ratio >= thresholds.disk_critical_ratio:
        return Severity.CRITICAL
    if ratio >= thresholds.disk_warning_ratio:
        return Severity.WARNING
    return None


def _unreadable(path: UnreadablePath) -> Finding:
    if not path.missing:
        return unavailable(
            "disk-path-unreadable",
            path.path,
            f"the disk space of {path.path}",
            f"the right to reach that path ({path.reason})",
        )
    return Finding(
        code="disk-path-missing",
        severity=Severity.WARNING,
        subject=path.path,
        sentence=f"{path.path} does not exist on this machine: {path.reason}.",
        advice="Correct the path of this host, or mount what should be there.",
    )


def _summary(
    systems: Sequence[FileSystem], unreadable: Sequence[UnreadablePath], thresholds: Thresholds
) -> str:
    if not systems:
        return f"No file system could be looked at: {len(unreadable)} paths are out of reach."
    fullest = max(systems, key=lambda fs: fs.used_ratio)
    over = [fs for fs in systems if any(diagnose(fs, thresholds))]
    verdict = (
        f"{len(over)} of {len(systems)} file systems need attention"
        if over
        else f"{counted(len(systems), 'file system')} {'has' if len(systems) == 1 else 'have'} room"
    )
    text = (
        f"{verdict}; the fullest is {fullest.mount_point} at {percent(fullest.used_ratio)} with"
        f" {_gigabytes(fullest.available_bytes)} left"
    )
    if unreadable:
        text += f", and {len(unreadable)} paths are out of reach"
    return text + "."


def _gigabytes(count_bytes: int) -> str:
    return f"{count_bytes / 1e9:,.1f} GB"


def _row(fs: FileSystem) -> dict[str, Any]:
    return {
        "mount_point": fs.mount_point,
        "paths": ", ".join(fs.paths),
        "size_bytes": fs.size_bytes,
        "used_bytes": fs.used_bytes,
        "available_bytes": fs.available_bytes,
        "used_ratio": fs.used_ratio,
        "used_inodes_ratio": fs.used_inodes_ratio,
    }


def _samples(fs: FileSystem) -> Iterator[Sample]:
    yield Sample("disk_used_bytes", fs.used_bytes, fs.mount_point)
    yield Sample(USED_METRIC, fs.used_ratio, fs.mount_point)
    if fs.used_inodes_ratio is not None:
        yield Sample("disk_used_inodes_ratio", fs.used_inodes_ratio, fs.mount_point)
