"""What a soak measured, judged and in words. Pure: samples in, figures and faults out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
#: Each side of a comparison is the median of so many samples.
SIDE = 5
#: Of the runs of each task that have ended. Slots that pile up while a beat is away are skipped, with that reason.
SUCCEEDED_RATIO = 0.5
#: How many may have failed in another way: faults hit some.
FAILED_RATIO = 0.05

Sample = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What a process held about one run; bytes are proportional set size."""

    run: int
    pss_bytes: float
    files: float


@dataclass(frozen=True, slots=True)
class Growth:
    """One process about run 500, about run 5,000, and at the end."""

    process: str
    first: Held
    last: Held
    end: Held

    def grown_bytes(self, until: Held) -> float:
        """By how much it has grown, below zero where it shrank."""
        return until.pss_bytes - self.first.pss_bytes


def compared(samples: Sequence[Sample]) -> list[Growth]:
    """Return the growth of each process that lived from the first of the two runs to the end."""
    if not samples:
        return []
    first, last, end = (samples[side] for side in _sides(samples))
    return [
        Growth(name, _held(first, name), _held(last, name), _held(end, name))
        for name in first[0]["processes"]
        if _lives(samples, name)
    ]


def _sides(samples: Sequence[Sample]) -> tuple[slice, slice, slice]:
    """Return where the samples are that are compared; of a short soak, what it has after its beginning."""
    width = max(min(SIDE, len(samples) // 4), 1)
    whole = len(samples)
    first = _index(samples, FIRST_RUN, whole // 5)
    last = min(_index(samples, LAST_RUN, whole - width), whole - width)
    return slice(first, first + width), slice(last, last + width), slice(whole - width, whole)


def _index(samples: Sequence[Sample], run: int, otherwise: int) -> int:
    return next((n for n, sample in enumerate(samples) if sample["runs"] >= run), otherwise)


def _held(side: Sequence[Sample], name: str) -> Held:
    return Held(
        run=side[0]["runs"],
        pss_bytes=median(sample["processes"][name]["pss_bytes"] for sample in side),
        files=median(sample["processes"][name]["files"] for sample in side),
    )


def _lives(samples: Sequence[Sample], name: str) -> bool:
    """Whether a process is the same in all samples from the first that counts on."""
    counted = samples[_sides(samples)[0].start :]
    return len({sample["processes"].get(name, {}).get("pid") for sample in counted}) == 1


def ends(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return the median of a number over the first third of the samples, and over the last."""
    values = [float(sample[name]) for sample in samples]
    third = max(len(values) // 3, 1)
    return median(values[:third]), median(values[-third:])


def faults_of(samples: Sequence[Sample], violations: int) -> Iterator[str]:
    """Yield a sentence for each limit that was passed, and for what could not be compared."""
    if violations:
        yield f"{violations} promises were broken"
    if not samples:
        yield "nothing was measured"
        return
    yield from _uncompared(samples)
    yield from _grown(samples)
    for before, after in pairwise(samples):
        if before["stale_locks"] and after["stale_locks"]:
            yield f"{after['stale_locks']} locks are held by sessions that do nothing"
            break
    for name, words in (
        ("overdue_rows", "runs are older than the retention"),
        ("unknown_files", "files of reports belong to no run"),
    ):
        if samples[-1][name]:
            yield f"{samples[-1][name]} {words}"
    for task, states in sorted(endings(samples).items()):
        succeeded, skipped = (share_of(states, state) for state in ("succeeded", "skipped"))
        if succeeded < SUCCEEDED_RATIO or 1 - succeeded - skipped > FAILED_RATIO:
            yield f"of {task} {succeeded:.0%} of the runs succeeded, {skipped:.0%} were skipped"


def endings(samples: Sequence[Sample]) -> dict[str, Counter[str]]:
    """Return how many runs of each task ended in which state, as often as they were seen."""
    tasks: dict[str, Counter[str]] = {}
    for sample in samples:
        for task, states in sample["ended"].items():
            tasks.setdefault(task, Counter()).update(states)
    return tasks


def share_of(states: Mapping[str, int], state: str) -> float:
    """Return the part of the runs that ended in a state."""
    return states.get(state, 0) / sum(states.values())


def _uncompared(samples: Sequence[Sample]) -> Iterator[str]:
    first, last, _end = (samples[side][0] for side in _sides(samples))
    for name in first["processes"]:
        if not _lives(samples, name):
            yield f"{name} did not live from run {first['runs']:,} to the end"
    if last["runs"] < LAST_RUN and samples[-1]["at_seconds"] >= WHOLE_SECONDS:
        yield f"only {last['runs']:,} runs were done of the {LAST_RUN:,} that are compared"


def _grown(samples: Sequence[Sample]) -> Iterator[str]:
    for growth in compared(samples):
        for until in (growth.last, growth.end):
            if growth.grown_bytes(until) > GROWTH_LIMIT_BYTES:
                yield (
                    f"{growth.process} grew by {mib(growth.grown_bytes(until))} between run"
                    f" {growth.first.run:,} and run {until.run:,}"
                )
            if until.files > growth.first.files + SLACK:
                yield (
                    f"{growth.process} had {growth.first.files:g} open files, and {until.files:g}"
                    f" about run {until.run:,}"
                )
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
        "| process | run | PSS | run | PSS | growth | at the end, run | PSS | growth | open files |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.process} | {one.first.run:,} | {mib(one.first.pss_bytes)} |"
        f" {one.last.run:,} | {mib(one.last.pss_bytes)} | {mib(one.grown_bytes(one.last))} |"
        f" {one.end.run:,} | {mib(one.end.pss_bytes)} | {mib(one.grown_bytes(one.end))} |"
        f" {one.first.files:g}, {one.last.files:g}, {one.end.files:g} |"
        for one in compared(samples)
    ]
    rows = [
        ("slots that were due", f"{soak['slots']:,}"),
        ("of them without exactly one run that has ended", str(soak["violations"])),
        ("runs that succeeded, by task", _well(samples)),
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
        (
            "files of reports, at the beginning and the end; of no run",
            f"{_pair(samples, 'files')}; {samples[-1]['unknown_files']}",
        ),
        (
            "longest stream after a trim (limit 10)",
            f"{median(s['longest_stream'] for s in samples):.0f}",
        ),
        ("limits passed", "; ".join(faults_of(samples, soak["violations"])) or "none"),
    ]
    lines += ["", "| what | figure |", "| --- | --- |"]
    lines += [f"| {name} | {figure} |" for name, figure in rows]
    return "\n".join(lines)


def _pair(samples: Sequence[Sample], name: str) -> str:
    first, last = ends(samples, name)
    return f"{first:.0f}, {last:.0f}"


def _well(samples: Sequence[Sample]) -> str:
    return ", ".join(
        f"{task.rpartition('.')[2]} {share_of(states, 'succeeded'):.1%}"
        f" ({share_of(states, 'skipped'):.1%} skipped)"
        for task, states in sorted(endings(samples).items())
    )


def _tally(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names)))
