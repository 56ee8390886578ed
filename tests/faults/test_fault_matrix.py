"""A seeded sample of the fault matrix: see ``make faults`` and docs/reliability.md for all of it."""

from dataclasses import replace

import pytest

from faults import kinds
from faults.__main__ import run_all

FAULTS = 100
SEED = 1
#: Of each stack that so many faults take, as many as a test has time for; and as many stacks at once
#: as leave each the processor that its own patience counts on.
FAULTS_OF_A_STACK = 4
AT_ONCE = 2


@pytest.mark.timeout(900)
def test_a_sample_of_faults_breaks_no_promise() -> None:
    stacks = [
        replace(stack, names=stack.names[:FAULTS_OF_A_STACK])
        for stack in kinds.matrix(FAULTS, SEED)
    ]
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
