"""The folder of secrets for the compose file and for systemd: ``make secrets``."""

import secrets
from pathlib import Path

from deploy.programs import SECRETS

#: Those that a person fills in; empty, they are as if they were not there.
GIVEN = frozenset({"site_database_url", "site_redis_url", "email_password", "chat_url"})


def write_secrets(folder: Path) -> list[Path]:
    """Write each secret that is missing; return what was written.

    Nobody but the owner passes the folder. In it, files may be read by all: a container sees them one by
    one, under a user of its own, which is not this one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)  # one that was there before may be open
    written = []
    for secret in SECRETS:
        path = folder / secret.name
        if path.exists():
            continue
        path.touch(mode=0o600)
        path.write_text("" if secret.name in GIVEN else secrets.token_urlsafe(32) + "\n")
        path.chmod(0o644)  # whatever the umask
        written.append(path)
    return written
