"""What a soak measured, judged and in words. Pure: samples in, figures and faults out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

#: From which run of the kept worker on, and up to which, memory is compared; a shorter soak compares what it has.
FIRST_RUN, LAST_RUN = 500, 5000
#: What a process may grow by in between, in proportional set size.
GROWTH_LIMIT_BYTES = 5 * 1024**2
#: A soak of this length has no excuse for fewer runs than the last one that counts.
WHOLE_SECONDS = 55 * 60
#: Files and connections come and go with what is at work at the moment of the look.
SLACK = 3

Sample = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Growth:
    """One process at two moments; bytes are proportional set size."""

    process: str
    first_run: int
    last_run: int
    first_bytes: int
    last_bytes: int
    first_files: int
    last_files: int

    @property
    def grown_bytes(self) -> int:
        """By how much it has grown, below zero where it shrank."""
        return self.last_bytes - self.first_bytes


def compared(samples: Sequence[Sample]) -> list[Growth]:
    """Return the growth of each process that lived from the first of the two runs to the last."""
    if not samples:
        return []
    first, last = _first_and_last(samples)
    return [
        Growth(
            process=name,
            first_run=first["runs"],
            last_run=last["runs"],
            first_bytes=before["pss_bytes"],
            last_bytes=last["processes"][name]["pss_bytes"],
            first_files=before["files"],
            last_files=last["processes"][name]["files"],
        )
        for name, before in first["processes"].items()
        if _lives(before, last["processes"].get(name))
    ]


def _first_and_last(samples: Sequence[Sample]) -> tuple[Sample, Sample]:
    warm = [sample for sample in samples if sample["runs"] >= FIRST_RUN]
    done = [sample for sample in samples if sample["runs"] >= LAST_RUN]
    return warm[0] if warm else samples[len(samples) // 5], done[0] if done else samples[-1]


def _lives(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    return after is not None and after["pid"] == before["pid"]


def ends(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the median of a number over the first third of the samples, and over the last."""
    values = [float(sample[name]) for sample in samples]
    third = max(len(values) // 3, 1)
    return median(values[:third]), median(values[-third:])


def faults_of(samples: Sequence[Sample], violations: int) -> Iterator[str]:
    """Yield a sentence for each limit that was passed, and for what could not be compared."""
    yield from _uncompared(*_first_and_last(samples))
    yield from _grown(samples)
    if samples[-1]["stale_locks"]:
        yield f"{samples[-1]['stale_locks']} locks are held by sessions that do nothing"
    if samples[-1]["overdue_rows"]:
        yield f"{samples[-1]['overdue_rows']} runs are older than the retention"
    if violations:
        yield f"{violations} promises were broken"


def _uncompared(first: Sample, last: Sample) -> Iterator[str]:
    for name, before in first["processes"].items():
        if not _lives(before, last["processes"].get(name)):
            yield f"{name} did not live from run {first['runs']:,} to run {last['runs']:,}"
    if last["runs"] < LAST_RUN and last["at_seconds"] >= WHOLE_SECONDS:
        yield f"only {last['runs']:,} runs were done of the {LAST_RUN:,} that are compared"


def _grown(samples: Sequence[Sample]) -> Iterator[str]:
    for growth in compared(samples):
        if growth.grown_bytes > GROWTH_LIMIT_BYTES:
            yield (
                f"{growth.process} grew by {mib(growth.grown_bytes)} between run"
                f" {growth.first_run:,} and run {growth.last_run:,}"
            )
        if growth.last_files > growth.first_files + SLACK:
            yield f"{growth.process} had {growth.first_files} open files, and {growth.last_files} later"
    for name, words in (
        ("connections", "connections to PostgreSQL"),
        ("clients", "connections to the broker"),
    ):
        first, last = ends(samples, name)
        if last > first + SLACK:
            yield f"there were {first:.0f} {words}, and {last:.0f} later"


def mib(number: float) -> str:
    """Return bytes as mebibytes."""
    return f"{number / 1024**2:.1f} MB"


def section(soak: Mapping[str, Any]) -> str:
    """Return the figures in Markdown. ``soak`` is what docs/soak.json holds."""
    if not soak:
        return "Not run yet."
    samples = soak["samples"]
    lines = [
        soak["taken"],
        "",
        "| process | run | PSS | run | PSS | growth | open files |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.process} | {one.first_run:,} | {mib(one.first_bytes)} | {one.last_run:,} |"
        f" {mib(one.last_bytes)} | {mib(one.grown_bytes)} | {one.first_files}, {one.last_files} |"
        for one in compared(samples)
    ]
    rows = [
        ("slots that were due", f"{soak['slots']:,}"),
        ("of them without exactly one run that has ended", str(soak["violations"])),
        ("faults in between", f"{len(soak['faults'])}: {_tally(soak['faults'])}"),
        ("connections to PostgreSQL, at the beginning and the end", _pair(samples, "connections")),
        ("connections to the broker, likewise", _pair(samples, "clients")),
        (
            "locks of sessions that do nothing, at the most",
            str(max(s["stale_locks"] for s in samples)),
        ),
        ("runs in the ledger, at the most", f"{max(s['rows'] for s in samples):,}"),
        (
            f"of them older than the retention ({soak['day_seconds']:.0f} s here) at the end",
            str(samples[-1]["overdue_rows"]),
        ),
        ("limits passed", "; ".join(faults_of(samples, soak["violations"])) or "none"),
    ]
    lines += ["", "| what | figure |", "| --- | --- |"]
    lines += [f"| {name} | {figure} |" for name, figure in rows]
    return "\n".join(lines)


def _pair(samples: Sequence[Sample], name: str) -> str:
    first, last = ends(samples, name)
    return f"{first:.0f}, {last:.0f}"


def _tally(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names)))
