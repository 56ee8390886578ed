"""What keeps the sample site from being built."""


class SampleSiteError(Exception):
    """The build refused or failed; the message says what happened, why and what to do next.

    Messages never hold a password: a URL is described by host, port and database alone.
    """
