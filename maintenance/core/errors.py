"""Errors that the engine understands. Each message says what happened, why, and what to do next."""


class MaintenanceError(Exception):
    """Base of every error that this package raises on purpose."""


class UnknownName(MaintenanceError):
    """A task, target, analysis, check or option that does not exist; carries a "did you mean"."""


class ConfigurationError(MaintenanceError):
    """The configuration cannot be used; the message lists every fault that was found."""


class InvalidOptions(MaintenanceError):
    """A task was given options that it does not take."""


class TargetUnavailable(MaintenanceError):
    """A target could not be reached. Retried; names the address, never the password."""


class MissingRights(MaintenanceError):
    """The target refused for lack of a right. Not retried; names the GRANT that is missing."""


class Skipped(MaintenanceError):
    """There is a reason not to run. The run ends as ``skipped`` with this reason."""


class NotConfigured(Skipped):
    """There is nothing to look at, since the configuration names none: nothing is amiss."""


class Postponed(MaintenanceError):
    """There is more to do, but not now. The run goes back to its queue until ``until_epoch_seconds``.

    What it has done so far is kept (see :class:`maintenance.core.job.Steps`); waiting is no failure.
    """

    def __init__(self, reason: str, until_epoch_seconds: float) -> None:
        super().__init__(reason)
        self.until_epoch_seconds = until_epoch_seconds


class Cancelled(MaintenanceError):
    """Somebody asked for this run to stop."""


class LostLease(MaintenanceError):
    """Another worker took the run over; this one must stop and write nothing more."""


class LeaseUnknown(MaintenanceError):
    """Whether the run is still ours cannot be told: the ledger has been away too long. Retried."""
