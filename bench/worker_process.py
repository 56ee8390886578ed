"""Work as the service's workers do it: in a process of its own, which has stepped back for others."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from service.niceness import step_back


@contextmanager
def in_a_worker(work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Yield what does ``work`` there, as often as it is called, and returns when it is done.

    Raises ``RuntimeError`` where the work ended in an error, which the process has printed.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(ours, theirs, work))
    process.start()
    theirs.close()

    def once() -> None:
        ours.send("go")
        try:
            ours.recv()
        except EOFError:
            raise RuntimeError("The work ended in an error, see above.") from None

    try:
        yield once
    finally:
        ours.close()
        process.join()


def _serve(others: Connection, line: Connection, work: Callable[[], object]) -> None:
    others.close()  # else the end of the line is never seen
    step_back()
    while True:
        try:
            line.recv()
        except EOFError:
            return
        work()
        line.send("done")
