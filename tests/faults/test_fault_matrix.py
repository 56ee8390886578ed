"""A seeded sample of the fault matrix: see ``make faults`` and docs/reliability.md for all of it."""

import pytest

from faults import kinds
from faults.__main__ import run_all

FAULTS = 100
SEED = 1
#: As many stacks at once as leave each the processor that its own patience counts on.
AT_ONCE = 2


@pytest.mark.beside_others  # its patience is a minute, and it judges no speed
@pytest.mark.timeout(900)
def test_a_sample_of_faults_breaks_no_promise() -> None:
    stacks = list(kinds.matrix(FAULTS, SEED))
    results = run_all(stacks, SEED * 1000, AT_ONCE)[kinds.MATRIX]
    broken = [
        (result["seed"], result["kind"], violation["invariant"], violation["what"])
        for result in results
        for violation in result["violations"]
        # How fast it recovered is judged on a machine that has nothing else to do; that it did, here.
        if violation["invariant"] != "I5" or result["recovery_seconds"] is None
    ]

    assert not broken
    assert len(results) == sum(len(stack.names) for stack in stacks)
