"""One stack and its faults, in a process of its own: ``python -m faults.batch``. Prints a line of JSON each."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import django

from faults.fire import Fire, Kind
from faults.stack import Stack, Variant
from faults.waiting import eventually

READY_SECONDS = 90.0
#: The work must have been seen to go on before anything is hurt.
READY_EFFECTS = 3


def main() -> int:
    """Start a stack, do the faults that are named, in their order, and stop it.

    The folder with the logs stays where something was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m faults.batch", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kinds", required=True, help="a JSON list of names")
    parser.add_argument("--variant", default="{}", help="JSON: fields of Variant")
    given = parser.parse_args()
    variant = Variant(**json.loads(given.variant))
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    root.chmod(0o711)
    print(json.dumps({"folder": str(root)}), flush=True)
    with Stack(root, variant) as stack:
        django.setup()
        broken = _hurt(stack, json.loads(given.kinds), given.seed)
    if not broken:
        shutil.rmtree(root)
    return 0


def _hurt(stack: Stack, names: Sequence[str], seed: int) -> bool:
    """Do the faults; return whether one broke something. A stack that does not recover is given up."""
    from faults import kinds
    from faults.stock_fire import StockFire

    wanted = [kinds.BY_NAME[name] for name in names]
    _prepare(stack, wanted)
    fire = (StockFire if stack.variant.is_stock else Fire)(stack, seed)
    broken = False
    for kind in wanted:
        episode = fire.run(kind)
        print(json.dumps(asdict(episode)), flush=True)
        broken = broken or bool(episode.violations)
        if episode.error and not stack.variant.is_stock:
            break
    return broken


def _prepare(stack: Stack, wanted: Sequence[Kind]) -> None:
    from django.core.management import call_command

    from faults import site_rows

    call_command("migrate", verbosity=0)
    if stack.variant.without == "unique key":
        stack.ask("ledger", "DROP INDEX maintenance_run_one_per_slot")
    site_rows.prepare_target(stack)
    needs = {need for kind in wanted for need in kind.needs}
    if not needs & {"slow marks"}:
        needs.add("plain marks" if stack.variant.is_stock else "marks")
    for need in sorted(needs):
        site_rows.write_lines(site_rows.LINES[need])
    stack.start_zygote()
    stack.start(*stack.names)
    wait_for_work(stack)


def wait_for_work(stack: Stack) -> None:
    """Wait until some runs have had their effect. Raises ``TimeoutError``."""
    count = "SELECT count(*) FROM marks WHERE kind = 'effect'"
    eventually(
        lambda: stack.ask("target", count)[0][0] >= READY_EFFECTS, READY_SECONDS, "work goes on"
    )


if __name__ == "__main__":
    sys.exit(main())
