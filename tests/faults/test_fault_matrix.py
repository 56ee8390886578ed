"""A seeded sample of the fault matrix: see ``make faults`` and docs/reliability.md for all of it."""

import pytest

from faults import kinds
from faults.__main__ import JOBS, run_all

FAULTS = 100
SEED = 1


@pytest.mark.timeout(1800)
def test_a_hundred_faults_break_no_promise() -> None:
    groups = run_all(list(kinds.matrix(FAULTS, SEED)), SEED * 1000, JOBS)
    results = groups[kinds.MATRIX]
    broken = [
        (result["seed"], result["kind"], violation["invariant"], violation["what"])
        for result in results
        for violation in result["violations"]
        # How fast it recovered is judged on a machine that has nothing else to do; that it did, here.
        if violation["invariant"] != "I5" or result["recovery_seconds"] is None
    ]

    assert not broken
    assert len(results) >= FAULTS
