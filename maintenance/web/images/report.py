"""What an operator reads about a run over images. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.conf import MediaTarget
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.recode import Reason
from maintenance.web.images.tally import Tally

#: Names that a finding holds as evidence.
NAMES_SHOWN = 20

#: What is wrong with a file, and what to do about it.
_ADVICE: Mapping[Reason, str] = {
    Reason.DAMAGED: (
        "Restore these files from a backup or ask for them anew; visitors see a part of them, or"
        " nothing."
    ),
    Reason.TOO_MANY_PIXELS: (
        "See who uploaded them: a small file of very many pixels can bring a server down that"
        " decodes it. Limit the pixels of uploads; where they are wanted, raise maximum_pixels."
    ),
    Reason.TOO_LARGE: "Raise maximum_file_bytes where such files are wanted, or limit uploads.",
    Reason.OTHER_CONTENT: (
        "Give these files the ending of their content: servers send the type that the name says."
    ),
    Reason.UNREADABLE: "Let the worker's user read these files.",
    Reason.UNWRITABLE: (
        "Let the worker run as the user that owns these files and as a member of their group (or with"
        " CAP_CHOWN), and let it write to their folders."
    ),
}


def build_report(
    job: Job[MediaTarget, OptimizeOptions],
    tally: Tally,
    *,
    state: Mapping[str, Any],
    stopped_because: str,
    goes_on_after: str,
    seconds: float,
) -> Report:
    """Say how much was saved, by format, and what was left alone for which reason."""
    name = job.target_name
    outcomes = tally.shown()
    return Report(
        title=f"Images of {name}",
        summary=_summary(job, tally, stopped_because),
        findings=tuple(diagnose(name, job.target, tally, stopped_because)),
        outcomes=tuple(outcomes),
        tables=tuple(_tables(tally)),
        facts={
            "files": tally.files,
            "looked_at_before": tally.known,
            "looked_at_images": tally.looked_at,
            "rewritten_images": tally.rewritten,
            "saved_bytes": tally.saved_bytes,
            "shown_outcomes": len(outcomes),
            "private_metadata_dropped": tally.private_dropped,
            "maximum_size": f"{job.target.maximum_width} x {job.target.maximum_height} pixels",
            "quality": job.target.quality,
            "goes_on_after": goes_on_after or None,
            "looked_at_per_second": tally.looked_at / seconds if tally.looked_at else None,
        },
        samples=() if job.options.dry_run else tuple(_samples(tally)),
        state=state,
    )


def _summary(job: Job[MediaTarget, OptimizeOptions], tally: Tally, stopped_because: str) -> str:
    would = "would be" if job.options.dry_run else "was" if tally.rewritten == 1 else "were"
    seen = f"{counted(tally.looked_at, 'image')} of {counted(tally.files, 'file')} looked at"
    if tally.known:
        seen += f", {tally.known:,} known from earlier runs"
    if tally.rewritten:
        before = sum(totals.before_bytes for totals in tally.formats.values())
        share = percent(tally.saved_bytes / before)
        done = (
            f"{tally.rewritten:,} {would} made smaller, which saves"
            f" {bytes_in_words(tally.saved_bytes)} ({share})"
        )
    else:
        done = f"none {would} made smaller"
    end = f"; stopped because {stopped_because}" if stopped_because else ""
    return f"{seen}; {done}{end}."


def diagnose(
    name: str, target: MediaTarget, tally: Tally, stopped_because: str
) -> Iterator[Finding]:
    """Name what a person should look at: damaged and dangerous files, positions that stay told."""
    for reason in _ADVICE:
        yield from _fault(name, reason, tally)
    if tally.private_kept:
        several = tally.private_kept > 1
        yield Finding(
            code="images-private-metadata",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{counted(tally.private_kept, 'image')} that could not be made smaller still"
                f" {'tell' if several else 'tells'} where {'they were' if several else 'it was'}"
                f" taken or by whose camera; {tally.private_example} is one."
            ),
            evidence={"images": tally.private_kept},
            advice=(
                "Drop EXIF where images are uploaded. Those that were made smaller tell nothing any"
                " more."
            ),
        )
    if stopped_because:
        yield Finding(
            code="images-unfinished",
            severity=Severity.INFO,
            subject=name,
            sentence=f"The run stopped because {stopped_because}; the next one goes on from there.",
            advice=(
                "Nothing needs to be done. A longer time_budget_seconds, or more jobs than"
                f" {target.jobs}, would end it sooner."
            ),
        )


def _fault(name: str, reason: Reason, tally: Tally) -> Iterator[Finding]:
    faults = [fault for fault in tally.faults if fault.reason == reason]
    if not faults:
        return
    shown = [f"{f.name} ({f.detail})" if f.detail else f.name for f in faults]
    yield Finding(
        code=f"images-{reason.name.lower().replace('_', '-')}",
        severity=Severity.WARNING,
        subject=name,
        sentence=f"{counted(len(faults), 'image')} left as found, {reason}: {listed(shown, 3)}.",
        evidence={
            "images": len(faults),
            "files": [{"name": f.name, "detail": f.detail} for f in faults[:NAMES_SHOWN]],
        },
        advice=_ADVICE[reason],
    )


def _tables(tally: Tally) -> Iterator[Table]:
    if tally.formats:
        yield Table.of(
            "By format",
            [
                {
                    "format": name,
                    "looked_at": totals.looked_at,
                    "rewritten": totals.rewritten,
                    "before_bytes": totals.before_bytes,
                    "after_bytes": totals.after_bytes,
                    "saved_bytes": totals.saved_bytes,
                    "saved_ratio": totals.saved_bytes / totals.before_bytes
                    if totals.before_bytes
                    else None,
                }
                for name, totals in sorted(tally.formats.items())
            ],
        )
    if tally.left_alone:
        yield Table.of(
            "Left as they were",
            [{"reason": str(reason), "images": n} for reason, n in tally.left_alone.most_common()],
        )
    if tally.passed:
        yield Table.of(
            "Passed by",
            [
                {"reason": reason, "files": n, "example": tally.passed_examples[reason]}
                for reason, n in tally.passed.most_common(NAMES_SHOWN)
            ],
        )


def _samples(tally: Tally) -> Iterator[Sample]:
    for name, totals in sorted(tally.formats.items()):
        yield Sample("images_saved_bytes", totals.saved_bytes, name)
        yield Sample("images_rewritten_count", totals.rewritten, name)
