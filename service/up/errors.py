"""Why ``up`` did not start, or stops before its work is done."""


class UpRefused(Exception):
    """``up`` cannot start as asked; the message says why and what to do next."""


class StopRequested(BaseException):
    """A person or the machine asked for the end (SIGINT, SIGTERM, SIGHUP)."""
