"""The heap of a process that lives for months: what its start has made is set apart from what comes and goes.

What comes and goes lies in cycles where something failed: tracebacks, connections, channels. Left to the
collector's own pace, a few thousand such objects lie about between what stays, and the heap keeps the size that
it had at the worst moment. Beside a frozen heap a collection takes a millisecond, with all that tasks
have imported ten: a process collects as soon as it has done with something.
"""

import gc
from typing import Any


def freeze_heap() -> None:
    """Set apart what there is, so that the collector looks at what comes after alone, and often.

    It goes through everything only once a quarter of it is new (CPython's ``gc`` module, "long_lived_pending"):
    beside the modules of a whole site that takes hours, and until then lost connections keep their sockets,
    which lie in cycles. The second collection tells it how little is left to go through. For processes that
    fork, frozen objects also stay shared: a collection writes to the header of each that it looks at.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


def collect_after_a_task(**_details: Any) -> None:
    """Let go of what a task left in cycles: a receiver of Celery's ``task_postrun``, beside a frozen heap."""
    gc.collect()
