"""The table of programs (``programs.toml``), read."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

TABLE = Path(__file__).with_name("programs.toml")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is handed over as a file: its name, and the variable that says where it lies."""

    name: str
    variable: str


#: Files of secrets. Those of a site, of the mail server and of a chat may be empty, which is as if they
#: were not there.
SECRETS = (
    Secret("postgres_password", "DATABASE_PASSWORD_FILE"),
    Secret("redis_password", "REDIS_PASSWORD_FILE"),
    Secret("django_secret_key", "DJANGO_SECRET_KEY_FILE"),
    Secret("flower_password", "FLOWER_PASSWORD_FILE"),
    Secret("site_database_url", "SITE_DATABASE_URL_FILE"),
    Secret("site_redis_url", "SITE_REDIS_URL_FILE"),
    Secret("email_password", "EMAIL_HOST_PASSWORD_FILE"),
    Secret("chat_url", "OPS_CHAT_URL_FILE"),
)


FLOWERS = frozenset({"redis_password", "flower_password"})


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the service: its commands, one after the other, and what it needs."""

    name: str
    summary: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    stop_seconds: int
    memory_megabytes: int
    cpus: float
    instances: int = 1
    once: bool = False

    @property
    def uses_django(self) -> bool:
        """Whether it reads the ledger: Flower, which does not, is told so by an empty name of settings."""
        return bool(self.environment["DJANGO_SETTINGS_MODULE"])

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets that it reads: Flower those of broker and login, all others the rest."""
        if self.name == "flower":
            return tuple(each for each in SECRETS if each.name in FLOWERS)
        return tuple(each for each in SECRETS if each.name != "flower_password")

    def at(self, *, address: str, state: str) -> "Program":
        """Return it with the places filled in where it listens and keeps its files."""

        def filled(text: str) -> str:
            return text.replace("{address}", address).replace("{state}", state)

        return replace(
            self,
            commands=[[filled(word) for word in command] for command in self.commands],
            environment={name: filled(value) for name, value in self.environment.items()},
        )


def read_programs(path: Path = TABLE) -> tuple[Program, ...]:
    """Return the programs in the order in which they start."""
    table = tomllib.loads(path.read_text())
    return tuple(
        Program(
            name=name,
            **{
                **settings,
                "environment": {**table["environment"], **settings.get("environment", {})},
            },
        )
        for name, settings in table["programs"].items()
    )
