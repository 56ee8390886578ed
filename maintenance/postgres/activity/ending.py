"""How a person ends what a session does, the mildest way first, and what that loses."""

from maintenance.core.wording import seconds_in_words
from maintenance.postgres.activity.backends import Backend


def ending_commands(backend: Backend) -> tuple[str, ...]:
    """Return SQL for it: cancel the statement, then end the session.

    A session that sits idle has no statement to cancel, and the server's own workers take nothing
    but a cancellation. Nothing is returned for a session that we may not look into.
    """
    commands = []
    if not backend.is_idle_in_transaction and backend.statement_started_at:
        commands.append(backend.cancel_command())
    if backend.transaction_started_at and not backend.is_upkeep:
        commands.append(backend.terminate_command())
    return tuple(commands)


def loss_in_words(backend: Backend) -> str:
    """Say what the commands lose."""
    age = backend.transaction_seconds
    transaction = f" (open for {seconds_in_words(age)})" if age is not None else ""
    if backend.is_idle_in_transaction:
        return (
            f"Ending the session takes back all that its transaction{transaction} has written;"
            " there is no statement to cancel."
        )
    if backend.is_upkeep:
        return "Cancelling it loses its work so far; it will be done again later."
    return (
        "Cancelling loses the statement's work so far, and its application gets an error; ending"
        f" the session takes back its whole transaction{transaction}: try it second."
    )
