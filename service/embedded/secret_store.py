"""Passwords and keys of an installation, generated once and kept in a file only its owner reads."""

import json
import os
import re
import secrets
import string
from pathlib import Path

from service.embedded.errors import StateFolderError

FORMAT = 1
ALPHABET = string.ascii_letters + string.digits
LENGTH_CHARACTERS = 32  # 190 bits; letters and digits need no quoting anywhere
KEY_LENGTH_CHARACTERS = 64  # Django wants 50 or more for SECRET_KEY (security.W009)


class SecretStore:
    """Named secrets in a JSON file of mode 0600; a name asked for the first time gets a value.

    Raises StateFolderError, without any of the content, where the file cannot be understood.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = self._read() if path.exists() else {}

    def __repr__(self) -> str:
        return f"SecretStore({str(self.path)!r})"

    def get(self, name: str) -> str:
        """The secret of that name; it is generated and saved at the first call.

        Raises ValueError for a name that is not a lower-case identifier.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"A secret's name is lower-case letters, digits and _: not {name!r}.")
        if name not in self._values:
            length = KEY_LENGTH_CHARACTERS if name.endswith("_key") else LENGTH_CHARACTERS
            self._values[name] = "".join(secrets.choice(ALPHABET) for _ in range(length))
            self._write()
        return self._values[name]

    @property
    def postgres_password(self) -> str:
        """The password of the embedded PostgreSQL's superuser."""
        return self.get("postgres_password")

    @property
    def valkey_password(self) -> str:
        """The password of the embedded Valkey servers."""
        return self.get("valkey_password")

    @property
    def admin_password(self) -> str:
        """The first password of the admin site's superuser."""
        return self.get("admin_password")

    @property
    def flower_password(self) -> str:
        """The password of Flower's login."""
        return self.get("flower_password")

    @property
    def django_secret_key(self) -> str:
        """Django's SECRET_KEY."""
        return self.get("django_secret_key")

    def _read(self) -> dict[str, str]:
        try:
            self.path.chmod(0o600)  # whatever a restore from a backup made of it
            document = json.loads(self.path.read_text())
            values = document["secrets"]
            whole = (
                document["format"] == FORMAT
                and isinstance(values, dict)
                and all(isinstance(value, str) and value for value in values.values())
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateFolderError(self._refusal(type(error).__name__)) from None
        if not whole:
            raise StateFolderError(self._refusal("unexpected content"))
        return dict(values)

    def _refusal(self, reason: str) -> str:
        return (
            f"{self.path} cannot be read ({reason}), and with it the passwords of the data beside "
            "it: restore the file from a backup, or move the whole state folder away to begin "
            "anew."
        )

    def _write(self) -> None:
        document = {"format": FORMAT, "secrets": self._values}
        write_private(self.path, json.dumps(document, indent=2, sort_keys=True) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that only its owner reads, on disk when this returns."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
