"""How far workers step back for whatever else runs on their host."""

import os

#: Added to the nice value of a worker's processes (sched(7), "The nice value"). Beside a trim another client of the
#: same server then waits less: `make bench ARGS=streams` measures it.
NICENESS = 10


def step_back() -> None:
    """Let everybody else on this host go first, from now on: there is no way back without a right."""
    os.nice(NICENESS)
