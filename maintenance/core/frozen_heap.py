"""The heap of a process that lives for months: what its start has made is set apart from what comes and goes."""

import gc


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
