"""``make faults``: do the faults of the whole matrix, count what they broke, write ``docs/reliability.md``."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from faults import kinds, table
from faults.kinds import StackOfFaults

ROOT = Path(__file__).resolve().parent.parent
#: Stacks at once. Most of a fault's time is waiting for leases; a processor bears more than one.
JOBS = 3
PROGRESS_SECONDS = 30.0
#: Faults of a run that is worth a document: each point of a worker and of a beat is met thirty times.
WHOLE = 1100

Result = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """What has been done so far."""

    wanted: int
    results: list[Result] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    said_at: float = field(default_factory=time.monotonic)

    def add(self, result: Result) -> None:
        """Count one fault; say so where it broke something, and now and then how far we are."""
        self.results.append(result)
        for violation in result["violations"] if result["group"] == kinds.MATRIX else ():
            print(
                f"VIOLATION {violation['invariant']} seed {result['seed']}, {result['kind']}:"
                f" {violation['what']} ({violation['at']})",
                flush=True,
            )
        if time.monotonic() - self.said_at > PROGRESS_SECONDS:
            self.said_at = time.monotonic()
            self.say()

    def say(self) -> None:
        """Print how far it is, and how fast."""
        minutes = (time.monotonic() - self.began) / 60
        done = len(self.results)
        broken = Counter(
            v["invariant"]
            for result in self.results
            if result["group"] == kinds.MATRIX
            for v in result["violations"]
        )
        rate = done / minutes if minutes else 0.0
        print(
            f"{done} of {self.wanted} faults in {minutes:.0f} min, {rate:.0f} a minute;"
            f" violations: {dict(sorted(broken.items())) or 'none'}",
            flush=True,
        )


def run_stack(stack: StackOfFaults, seed: int, out: "Queue[Result]") -> int:
    """Run one stack in a process of its own; put each result into ``out``; return how many came."""
    command = [sys.executable, "-m", "faults.batch", "--seed", str(seed)]
    command += ["--kinds", json.dumps(stack.names), "--variant", json.dumps(dict(stack.variant))]
    count = 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            result = json.loads(line)
            if "kind" in result:
                out.put({**result, "group": stack.group})
                count += 1
        assert process.stderr is not None
        said = process.stderr.read()
    if process.returncode:
        print(f"The stack of seed {seed} broke:\n{said}", file=sys.stderr, flush=True)
    return count


def run_all(stacks: Sequence[StackOfFaults], seed: int, jobs: int) -> dict[str, list[Result]]:
    """Do all faults, and return the results by group.

    What a stack that was given up has left is done by another one; the fault that broke it is not.
    Interrupted at the terminal, it returns what has been done.
    """
    tally = Tally(sum(len(stack.names) for stack in stacks))
    out: Queue[Result] = Queue()
    try:
        _do_all(stacks, seed, jobs, out, tally)
    except KeyboardInterrupt:
        print("Interrupted; what has been done counts.", flush=True)
    for result in _drained(out):
        tally.add(result)
    tally.say()
    groups: dict[str, list[Result]] = {}
    for result in tally.results:
        groups.setdefault(result["group"], []).append(result)
    return groups


def _do_all(
    stacks: Sequence[StackOfFaults], seed: int, jobs: int, out: "Queue[Result]", tally: Tally
) -> None:
    waiting = deque(stacks)
    at_work: dict[Future[int], StackOfFaults] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                stack = waiting.popleft()
                at_work[pool.submit(run_stack, stack, seed, out)] = stack
                seed += 1
            done, _rest = wait(at_work, timeout=1.0, return_when=FIRST_COMPLETED)
            for result in _drained(out):
                tally.add(result)
            for future in done:
                stack = at_work.pop(future)
                left = stack.names[max(future.result(), 1) :]
                if left:
                    waiting.append(replace(stack, names=left))


def _drained(out: "Queue[Result]") -> Iterator[Result]:
    while True:
        try:
            yield out.get_nowait()
        except Empty:
            return


def main(arguments: Sequence[str]) -> int:
    """Run the matrix and what it is compared with; return 1 where the product broke a promise.

    The document holds the last run of the matrix and of each comparison, unless it was one of some
    faults only.
    """
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=WHOLE, help=f"how many ({WHOLE})")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same faults")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"stacks at once ({JOBS})")
    parser.add_argument("--only", default="", help="a part of the names of the faults to do")
    parser.add_argument("--compare", nargs="*", default=[], help="only these comparisons")
    parser.add_argument("--no-table", action="store_true", help="leave the document as it is")
    given = parser.parse_args(arguments)
    os.environ["DJANGO_SETTINGS_MODULE"] = "faults.site.settings"
    began = time.monotonic()
    stacks = [] if given.compare else list(kinds.matrix(given.faults, given.seed, given.only))
    is_whole = given.faults >= WHOLE and not given.only and not given.compare
    wanted = list(kinds.COMPARISONS) if is_whole else given.compare
    stacks += [stack for name in wanted for stack in kinds.comparison(name)]
    groups = run_all(stacks, given.seed * 1000, given.jobs)
    for name, results in groups.items():
        print(f"\n{name}\n{table.as_text(table.HEAD, table.lines(results, 'kind'))}", flush=True)
    if not given.only and not given.no_table:
        table.keep(groups, given.seed, (time.monotonic() - began) / 60)
        table.write()
    return int(any(result["violations"] for result in groups.get("matrix", ())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
