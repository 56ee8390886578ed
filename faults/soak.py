"""``make soak``: the stack at work for an hour, with faults, and whether anything of it grows.

Schedules are due every second; a worker and a beat live through all of it, with no recycling of pool processes,
while others are killed, servers restart, and lines are cut. After each fault, when everything that was due has
ended, memory, files, connections, locks and rows are looked at. Figures go to docs/soak.json, and from there
into docs/reliability.md. What the stack is not: web, Flower, and tasks other than marks, VACUUM, trim and retention.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django

from faults import soak_figures, table
from faults.batch import wait_for_work
from faults.fire import Fire, Kind
from faults.proxy import Line
from faults.services import BY_NAME as SERVERS
from faults.soak_look import DAY_SECONDS, look, plant_streams
from faults.stack import Stack, Variant

#: Two workers, so that the one that lives through all of it has 5,000 runs within the hour.
NAMES = ("beat-a", "beat-b", "worker-a", "worker-b")
#: Of undisturbed work between two faults.
PAUSE_SECONDS = 20.0


def _kill(name: str) -> Kind:
    def hurt(fire: Fire) -> None:
        time.sleep(fire.random.uniform(0.0, 1.0))
        fire.fault_at = time.time()
        fire.kill(fire.stack.nodes[name])

    return Kind(f"{name} killed", "", hurt)


def _cut(name: str, server: str) -> Kind:
    """Cut a node off for two seconds, which is less than its lease."""

    def hurt(fire: Fire) -> None:
        node = fire.stack.nodes[name]
        proxy = node.ledger if server == "ledger" else node.broker
        fire.disturb(node)
        fire.fault_at = time.time()
        proxy.set(Line.CUT)
        time.sleep(2.0)
        proxy.set(Line.OPEN)

    return Kind(f"{name} cut off the {server}", "", hurt)


def _stop(name: str) -> Kind:
    """Stop a node for longer than its lease."""

    def hurt(fire: Fire) -> None:
        node = fire.stack.nodes[name]
        fire.disturb(node)
        fire.fault_at = time.time()
        fire.stack.signal(node, signal.SIGSTOP)
        time.sleep(5.0)
        fire.stack.signal(node, signal.SIGCONT)

    return Kind(f"{name} stopped", "", hurt)


def _nothing(fire: Fire) -> None:
    fire.fault_at = time.time()


QUIET = Kind("nothing", "", _nothing)
KINDS = (
    _kill("worker-b"),
    _kill("beat-b"),
    _stop("beat-a"),
    _stop("worker-b"),
    _cut("worker-a", "ledger"),
    _cut("worker-a", "broker"),
    _cut("beat-a", "ledger"),
    SERVERS["broker restarted"],
    SERVERS["database restarted"],
)


@dataclass(slots=True)
class Soak:
    """What has come of it so far. It is kept where the driver itself fails."""

    seed: int
    folder: Path
    began: float = field(default_factory=time.monotonic)
    slots: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    violations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def passed_seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def note(self, sample: dict[str, Any]) -> None:
        """Keep a sample, also on disk."""
        self.samples.append(sample)
        with (self.folder / "samples.jsonl").open("a") as lines:
            lines.write(json.dumps(sample) + "\n")

    def found(self) -> dict[str, Any]:
        """Return what docs/soak.json holds."""
        return {
            "taken": table.taken(f"{self.slots:,} slots", self.seed, self.passed_seconds / 60),
            "slots": self.slots,
            "violations": len(self.violations),
            "what_was_broken": self.violations,
            "faults": self.faults,
            "day_seconds": DAY_SECONDS,
            "samples": self.samples,
        }


def soak(minutes: float, seed: int, pause_seconds: float) -> dict[str, Any]:
    """Run the stack for so long; return what docs/soak.json holds. One that passed a limit leaves its folder."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "faults.site.settings"
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    root.chmod(0o711)
    print(f"Logs and samples are in {root}.", flush=True)
    variant = Variant(day_seconds=DAY_SECONDS, recycles=False, starts_anew=True)
    state = Soak(seed, root)
    try:
        with Stack(root, variant) as stack:
            stack.names = NAMES
            django.setup()
            _endure(stack, state, minutes, pause_seconds)
    except Exception as error:  # noqa: BLE001 - what was measured until then is not lost
        traceback.print_exc()
        state.violations.append({"invariant": "driver", "what": f"the soak ended early: {error}"})
    found = state.found()
    if not any(soak_figures.faults_of(found["samples"], found["violations"])):
        shutil.rmtree(root)
    return found


def _endure(stack: Stack, state: Soak, minutes: float, pause_seconds: float) -> None:
    """Work, with each fault twice to begin with.

    What a process does for the first time it imports, and keeps: by the first run that is compared, each
    has met what it will meet, the retention's deletions as well.
    """
    from faults import site_rows

    _prepare(stack, site_rows.LINES["soak"])
    state.began = time.monotonic()
    fire = Fire(stack, state.seed)
    warming = [*KINDS] * 2
    while (passed := state.passed_seconds) < minutes * 60 or not state.samples:
        is_last = passed + pause_seconds >= minutes * 60
        is_warm = not warming
        if is_last or not state.samples:
            kind = QUIET
        else:
            kind = fire.random.choice(KINDS) if is_warm else warming.pop()
        plant_streams(stack)
        if not is_warm:
            site_rows.plant_old_runs()
        episode = fire.run(kind)
        state.slots += episode.slots
        state.violations += [*episode.violations, *_deaths(stack)]
        if kind is not QUIET:
            state.faults.append(kind.name)
        state.note(look(stack, round(state.passed_seconds)))
        _say(kind, episode.violations, state.samples[-1])
        if episode.error:
            break
        if is_warm:
            time.sleep(pause_seconds)


def _deaths(stack: Stack) -> list[dict[str, Any]]:
    """Return the processes that ended by themselves, and forget them."""
    found = [
        {"invariant": "life", "what": f"{name} (pid {pid}) ended though nobody killed it"}
        for name, pid in stack.deaths
    ]
    stack.deaths.clear()
    return found


def _prepare(stack: Stack, lines: Sequence[Any]) -> None:
    from django.core.management import call_command

    from faults import site_rows

    call_command("migrate", verbosity=0)
    site_rows.prepare_target(stack)
    site_rows.write_lines(lines)
    stack.start_zygote()
    stack.start(*stack.names)
    wait_for_work(stack)


def _say(kind: Kind, violations: Sequence[Any], sample: dict[str, Any]) -> None:
    held = sum(process["pss_bytes"] for process in sample["processes"].values())
    print(
        f"{sample['at_seconds']:5} s  run {sample['runs']:5}  {soak_figures.mib(held):>9}"
        f"  {sample['rows']:5} rows  after: {kind.name}",
        *(f"  VIOLATION {one['invariant']}: {one['what']}" for one in violations),
        sep="\n",
        flush=True,
    )


def main(arguments: Sequence[str]) -> int:
    """Soak, print and keep the figures; return 1 where a limit was passed."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same faults")
    parser.add_argument(
        "--pause",
        type=float,
        default=PAUSE_SECONDS,
        help=f"seconds between faults ({PAUSE_SECONDS:g})",
    )
    parser.add_argument("--no-table", action="store_true", help="leave the document as it is")
    given = parser.parse_args(arguments)
    found = soak(given.minutes, given.seed, given.pause)
    print(soak_figures.section(found))
    if not given.no_table:
        table.SOAK.write_text(json.dumps(found, indent=1) + "\n")
        table.write()
    return int(any(soak_figures.faults_of(found["samples"], found["violations"])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
