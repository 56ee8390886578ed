"""Settings, the machine that they are for, and what is advised: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maintenance.core.findings import Severity

MB = 1024**2
GB = 1024**3

_UNIT_FACTORS: Mapping[str, float] = {
    # Bytes, and milliseconds for times.
    "B": 1,
    "kB": 1024,
    "8kB": 8 * 1024,
    "MB": MB,
    "us": 0.001,
    "ms": 1,
    "s": 1000,
    "min": 60_000,
}

# Where a value comes from that no file can change (pg_settings.source).
_BEYOND_FILES = {
    "command line": "the server's command line",
    "environment variable": "the environment that the server was started in",
    "database": "ALTER DATABASE ... SET",
    "user": "ALTER ROLE ... SET",
    "database user": "ALTER ROLE ... IN DATABASE ... SET",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of pg_settings: ``value`` is what a new session starts with, in ``unit``.

    ``source_file`` is ``None`` also where it is hidden from us.
    """

    name: str
    value: str
    unit: str | None
    kind: str
    context: str
    source: str
    source_file: str | None
    default: str | None
    is_pending: bool = False

    @property
    def number(self) -> float:
        """The value in bytes, milliseconds or as it is. Raises ``ValueError`` for text."""
        return float(self.value) * _UNIT_FACTORS.get(self.unit or "", 1.0)

    @property
    def needs_restart(self) -> bool:
        """Whether a reload is not enough."""
        return self.context == "postmaster"

    @property
    def is_default(self) -> bool:
        """Whether it is PostgreSQL's own value, so that nobody has decided on it."""
        return self.value == self.default

    @property
    def set_beyond_files(self) -> str:
        """What sets it so that no file can change it, empty where one can."""
        return _BEYOND_FILES.get(self.source, "")

    @property
    def text(self) -> str:
        """The value as it is written in postgresql.conf, without quotes."""
        if self.unit is None or self.kind not in {"integer", "real"} or self.number < 0:
            return self.value
        if self.unit.endswith("B"):
            return size_text(self.number)
        return "0" if self.number == 0 else f"{self.value}{self.unit}"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the server may use; ``None`` where nobody said and it cannot be seen.

    ``usable_bytes`` is all memory of a dedicated server, half of it where other programs share the
    machine. ``origin`` says where the figures come from.
    """

    memory_bytes: int | None = None
    cpu_count: int | None = None
    storage: str | None = None
    dedicated: bool = True
    origin: str = "the configuration"

    @property
    def usable_bytes(self) -> int | None:
        """Memory to plan with."""
        if self.memory_bytes is None:
            return None
        return self.memory_bytes if self.dedicated else self.memory_bytes // 2


@dataclass(frozen=True, slots=True)
class Load:
    """What was counted. ``max_wal_size_bytes`` is what would let checkpoints wait for the clock.

    It is ``None`` where they do, where nothing is counted yet, and where settings were loaded in
    between. ``early_checkpoint_ratio`` is the share that came early instead.
    """

    databases: int = 1
    max_wal_size_bytes: int | None = None
    early_checkpoint_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Server:
    """All that the rules look at. A setting that is hidden from us is missing."""

    major: int
    settings: Mapping[str, Setting]
    machine: Machine
    load: Load
    statements_installed: bool = True
    service: str = ""
    may_alter_system: bool = True

    def number(self, name: str) -> float | None:
        """Return a setting's number, ``None`` where it is hidden, unknown or about to change."""
        setting = self.settings.get(name)
        return None if setting is None or setting.is_pending else setting.number

    def is_on(self, name: str) -> bool | None:
        """Return whether a boolean setting is on, ``None`` as for :meth:`number`."""
        setting = self.settings.get(name)
        return None if setting is None or setting.is_pending else setting.value == "on"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A better value, as written in postgresql.conf without quotes.

    ``value`` is empty where the danger is named but a person must choose. ``source`` names the
    section of the guide or of PostgreSQL's documentation.
    """

    name: str
    value: str
    reason: str
    source: str
    severity: Severity = Severity.INFO


def size_text(size_bytes: float) -> str:
    """Write a size in the largest unit that divides it: ``1GB``, ``1536MB``, ``64kB``."""
    size = int(size_bytes)
    for factor, unit in ((GB, "GB"), (MB, "MB"), (1024, "kB")):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B" if size else "0"


def setting_from_row(row: Mapping[str, Any]) -> Setting:
    """Build from a row of ``sql/server_settings.sql``."""
    return Setting(**row)
