"""Who may ask without a login: the tokens of Prometheus and of programs."""

import re
from typing import Annotated

from pydantic import AfterValidator

from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Section
from maintenance.core.errors import ConfigurationError

#: What ``openssl rand -hex 16`` gives has 32 characters; below 20 a token can be guessed in time.
SHORTEST_TOKEN = 20

#: What an Authorization header may carry (RFC 6750, 2.1, b64token).
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def _a_reference(text: str) -> str:
    if not text or text.partition(":")[0] in {"env", "file"}:
        return text
    raise ValueError('must be a reference: "env:NAME" or "file:/run/secrets/name", never the token')


TokenReference = Annotated[str, AfterValidator(_a_reference)]


class AccessTokens(Section):
    """Bearer tokens, each for one thing; what has none configured is not there (404).

    ``metrics`` opens ``/metrics``, ``read`` the JSON API for reading, ``run`` also starts runs there.
    """

    metrics: TokenReference = ""
    read: TokenReference = ""
    run: TokenReference = ""

    def resolved(self, name: str) -> str:
        """Return the token of this name, empty where none is configured.

        Raises ``ConfigurationError`` for a variable or file that is missing, and for a token that is too
        short or that no header can carry; the error never says the token.
        """
        reference: str = getattr(self, name)
        if not reference:
            return ""
        token = resolve_secret(reference)
        if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
            raise ConfigurationError(
                f"The token behind access.{name} must have at least {SHORTEST_TOKEN} characters, of"
                " letters, digits and -._~+/ only: openssl rand -hex 32 makes one."
            )
        return token
