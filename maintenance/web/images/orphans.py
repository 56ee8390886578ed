"""Media that no row names, and rows whose file is not there.

Nothing is removed where any of what is asked returned nothing. Which files are in use is asked twice: before
the walk, and again before anything is called an orphan, so that an upload in between is in the
second answer.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from maintenance.conf import MediaTarget
from maintenance.core.errors import Skipped
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import DryRunOption, NoOptions
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.web.images.places import (
    MediaFile,
    Passed,
    Place,
    is_left_out,
    place_of,
    printable,
)
from maintenance.web.images.recode import LeftAlone
from maintenance.web.images.references import NameSource, name_number
from maintenance.web.images.seen import Fingerprints

#: Orphans that one run holds and removes; the next one has the rest.
MOST_ORPHANS = 100_000
#: Names that rows have and the walk did not meet, each of which is looked for by itself.
MOST_MISSING = 10_000
NAMES_SHOWN = 50

AskNames = Callable[[], Iterable[NameSource]]


@dataclass(slots=True)
class Look:
    """What a walk found. ``names`` are those of rows, and ``met`` which of them the walk met.

    ``silent`` are the sources of names that named no file, in one of the answers at least.
    """

    names: Fingerprints
    met: bytearray
    silent: dict[str, None] = field(default_factory=dict)
    files: int = 0
    files_bytes: int = 0
    young: int = 0
    orphans: list[MediaFile] = field(default_factory=list)
    orphan_count: int = 0
    orphan_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0

    @property
    def share_ratio(self) -> float:
        """Orphans among the files that are old enough to be judged."""
        judged = self.files - self.young
        return self.orphan_count / judged if judged else 0.0


def report_orphaned_media(job: Job[MediaTarget, NoOptions], ask: AskNames) -> Report:
    """Name files that no row names, and names that lead to no file. Writes nothing.

    ``ask`` returns what names files, and is called twice. Costs a look at each file, 8
    bytes of memory for each name, and the orphans themselves. Raises :class:`Skipped` where nothing
    says which files are in use, or the answer is empty.
    """
    look = _look(job.target, place_of(job.target, writes=False), ask, job.progress.update)
    return _report(job.target_name, job.target, look, ())


def remove_orphaned_media(job: Job[MediaTarget, DryRunOption], ask: AskNames) -> Report:
    """Delete files that no row names. This cannot be undone.

    Refused where more than ``orphan_share_limit_ratio`` of the files would go, and where one of what
    is asked names no file. Raises :class:`Skipped` as :func:`report_orphaned_media`.
    """
    target = job.target
    place = place_of(target, writes=not job.options.dry_run)
    look = _look(target, place, ask, job.progress.update)
    if refusal := _refusal(target, look):
        refused = Outcome(_removal(job.target_name, look), Verdict.REFUSED, refusal)
        return _report(job.target_name, target, look, (refused,))
    if job.options.dry_run:
        planned = Outcome(_removal(job.target_name, look), Verdict.PLANNED)
        return _report(job.target_name, target, look, (planned,))
    return _report(job.target_name, target, look, (_remove(job, place, look),))


def _look(target: MediaTarget, place: Place, ask: AskNames, progress: Callable[..., None]) -> Look:
    silent: dict[str, None] = {}
    named = Fingerprints(map(name_number, _names(ask, silent)))
    if not named:
        raise Skipped(
            "no row names any file: all media would be orphans, which is rather a wrong query."
        )
    look = Look(named, bytearray(len(named)), silent)
    for entry in place.walk():
        progress(look.files, phase="comparing files with rows", unit="files")
        at = named.index(name_number(entry.name))
        if at is not None:
            look.met[at] = 1
        if isinstance(entry, Passed):
            continue
        look.files += 1
        look.files_bytes += entry.size_bytes
        if at is None and not _is_excepted(entry.name, target):
            _judge(look, entry, target)
    progress(look.files, phase="asking rows again", unit="files")
    _ask_again(look, target, place, ask)
    return look


def _names(ask: AskNames, silent: dict[str, None]) -> Iterator[str]:
    """Yield every name that is asked for; who has none is put into ``silent``."""
    for source in ask():
        is_silent = True
        for name in source.names:
            if name:  # a column without NULL has '' where there is no file
                is_silent = False
                yield name
        if is_silent:
            silent[source.label] = None


def _is_excepted(name: str, target: MediaTarget) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in target.orphan_exceptions)


def _is_passed_by(name: str, target: MediaTarget) -> bool:
    """Tell whether the walk never comes to a name: it is left out, or a folder above it is."""
    path = PurePosixPath(name)
    return any(
        is_left_out(str(part), target.exclude, target.originals) for part in (path, *path.parents)
    )


def _judge(look: Look, file: MediaFile, target: MediaTarget) -> None:
    if time.time() - file.modified_ns / 1e9 < target.orphan_minimum_age_seconds:
        look.young += 1
    elif len(look.orphans) < MOST_ORPHANS:
        look.orphans.append(file)
    else:
        look.orphan_count += 1
        look.orphan_bytes += file.size_bytes


def _ask_again(look: Look, target: MediaTarget, place: Place, ask: AskNames) -> None:
    """Take back orphans that a row names by now, and look for files that the walk did not meet."""
    orphans = {name_number(file.name): file for file in look.orphans}
    for name in _names(ask, look.silent):
        number = name_number(name)
        orphans.pop(number, None)
        at = look.names.index(number)
        if at is None or look.met[at] or look.missing_count > MOST_MISSING:
            continue
        look.met[at] = 1  # each name once
        relative = name.lstrip("/")
        if not _is_passed_by(relative, target) and not place.exists(relative):
            look.missing_count += 1
            if len(look.missing) < NAMES_SHOWN:
                look.missing.append(printable(name))
    look.orphans = list(orphans.values())
    look.orphan_count += len(look.orphans)
    look.orphan_bytes += sum(file.size_bytes for file in look.orphans)


def _removal(name: str, look: Look) -> Action:
    return Action(
        kind="delete files",
        subject=name,
        statement=f"delete {counted(len(look.orphans), 'file')} that no row names",
        reason="nobody can reach them through the site",
        predicted={"freed_bytes": sum(file.size_bytes for file in look.orphans)},
    )


def _refusal(target: MediaTarget, look: Look) -> str:
    """Return why nothing is removed; empty where something may be."""
    if look.silent:
        return (
            f"{listed(list(look.silent), 3)} named no file, and what it should name would go: rather a"
            " column was moved. Correct it, or take it out of the target."
        )
    if look.share_ratio > target.orphan_share_limit_ratio:
        return (
            f"{percent(look.share_ratio)} of the files would go, more than"
            f" {percent(target.orphan_share_limit_ratio)}: rather a query forgets something. Raise"
            " orphan_share_limit_ratio if it is true."
        )
    return ""


def _remove(job: Job[MediaTarget, DryRunOption], place: Place, look: Look) -> Outcome:
    started = time.monotonic()
    removed = freed_bytes = 0
    kept: list[str] = []
    for done, file in enumerate(look.orphans):
        job.progress.update(done, len(look.orphans), phase="deleting orphans", unit="files")
        try:
            place.delete(file)
        except FileNotFoundError:
            continue
        except (LeftAlone, OSError) as error:
            kept.append(f"{printable(file.name)} ({error})")
            continue
        removed += 1
        freed_bytes += file.size_bytes
    said = f"{counted(removed, 'file')} deleted, {bytes_in_words(freed_bytes)} freed"
    if kept:
        said += f"; {counted(len(kept), 'file')} could not be: {listed(kept, 3)}"
    return Outcome(
        _removal(job.target_name, look),
        Verdict.WORKED if removed or not look.orphans else Verdict.FAILED,
        f"{said}.",
        before={"files": look.files, "size_bytes": look.files_bytes},
        after={"files": look.files - removed, "size_bytes": look.files_bytes - freed_bytes},
        duration_seconds=time.monotonic() - started,
    )


def _report(name: str, target: MediaTarget, look: Look, outcomes: tuple[Outcome, ...]) -> Report:
    summary = (
        f"{counted(look.orphan_count, 'file')} of {look.files:,}, {bytes_in_words(look.orphan_bytes)},"
        f" {'is' if look.orphan_count == 1 else 'are'} named by no row;"
        f" {counted(look.missing_count, 'name')} of {len(look.names):,}"
        f" {'leads' if look.missing_count == 1 else 'lead'} to no file."
    )
    return Report(
        title=f"Media and rows of {name}",
        summary=" ".join([summary, *(one.sentence for one in outcomes if one.sentence)]),
        findings=tuple(_findings(name, target, look)),
        outcomes=outcomes,
        tables=tuple(_tables(look)),
        facts={
            "files": look.files,
            "named_files": len(look.names),
            "too_young_to_be_judged": look.young,
            "orphan_share_ratio": look.share_ratio,
        },
        samples=(
            Sample("media_files_count", look.files),
            Sample("media_bytes", look.files_bytes),
            Sample("media_orphaned_bytes", look.orphan_bytes),
            Sample("media_missing_count", look.missing_count),
        ),
    )


def _findings(name: str, target: MediaTarget, look: Look) -> Iterator[Finding]:
    if look.silent:
        silent = list(look.silent)
        yield Finding(
            code="media-source-empty",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{listed(silent, 3)} named no file, so files that are in use may be called orphans."
            ),
            evidence={"sources": silent},
            advice=(
                "Ask whether an upgrade of the site moved the column. What names no file for good"
                " has to leave the target: remove_orphaned_media deletes nothing until then."
            ),
        )
    if look.orphan_count:
        names = [printable(file.name) for file in _largest(look)]
        doubtful = look.share_ratio > target.orphan_share_limit_ratio
        doubt = (
            " That is so many that a query may have forgotten something: check references first."
            if doubtful
            else ""
        )
        yield Finding(
            code="media-orphaned",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{counted(look.orphan_count, 'file')}, {bytes_in_words(look.orphan_bytes)} or"
                f" {percent(look.share_ratio)} of those that could be judged,"
                f" {'is' if look.orphan_count == 1 else 'are'} named by no row, the largest first:"
                f" {listed(names, 3)}.{doubt}"
            ),
            evidence={
                "orphans": look.orphan_count,
                "orphans_bytes": look.orphan_bytes,
                "share_ratio": look.share_ratio,
                "names": names,
            },
            advice=(
                "Look through the list; what is in use otherwise belongs into orphan_exceptions."
                ' remove_orphaned_media deletes the rest, where allow names "remove_media".'
            ),
        )
    if look.missing_count:
        at_least = "at least " if look.missing_count > MOST_MISSING else ""
        yield Finding(
            code="media-missing",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"Rows name {at_least}{counted(look.missing_count, 'file')} that"
                f" {'is' if look.missing_count == 1 else 'are'} not there, so visitors see a gap:"
                f" {listed(look.missing, 3)}."
            ),
            evidence={"missing": look.missing_count, "names": look.missing},
            advice="Restore them from a backup, or let the rows name nothing.",
        )


def _largest(look: Look) -> list[MediaFile]:
    return sorted(look.orphans, key=lambda file: (-file.size_bytes, file.name))[:NAMES_SHOWN]


def _tables(look: Look) -> Iterator[Table]:
    largest = _largest(look)
    if largest:
        yield Table.of(
            "Largest files that no row names",
            [
                {
                    "name": printable(file.name),
                    "size_bytes": file.size_bytes,
                    "age_seconds": max(0.0, time.time() - file.modified_ns / 1e9),
                }
                for file in largest
            ],
        )
