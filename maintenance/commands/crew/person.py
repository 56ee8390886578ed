"""Who sits at the terminal, for the ledger to name."""

import getpass


def person_at_the_terminal() -> str:
    """Return the name of the system's user, ``unknown`` for one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user
        return "unknown"
