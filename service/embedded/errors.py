"""What can go wrong with the embedded servers, each as one sentence for a person to act on."""


class EmbeddedError(Exception):
    """Base of every refusal and failure of the embedded servers."""


class StateFolderError(EmbeddedError):
    """The state folder cannot be used as it is."""


class BinariesNotFoundError(EmbeddedError):
    """No usable server binary was found where it was looked for."""


class ServerStartError(EmbeddedError):
    """A server did not come up; the message ends with the last lines of its log."""
