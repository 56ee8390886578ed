"""Presets: what is known of a kind of site, laid under what the operator wrote.

A preset is a TOML file of ``maintenance/presets``. Its ``configuration`` has the keys of MAINTENANCE;
where the operator wrote a value, that one holds, key by key. ``false`` in the place of a whole
target takes the preset's away.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from maintenance.conf.references import filled, is_reference, shown
from maintenance.conf.values import Section
from maintenance.core.errors import ConfigurationError
from maintenance.core.redaction import address_of
from maintenance.core.suggestions import did_you_mean

KEY = "preset"

#: Whose values win.
OPERATOR = "you"

#: One of these keys takes the place of the others: "alias" of an operator and not the preset's "url".
_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "alias": ("url",),
    "url": ("alias",),
    "provider": ("pattern", "sql", "database"),
    "pattern": ("provider",),
    "sql": ("provider",),
}


class Fits(Section):
    """By what a site is known: tables of its database, shapes of keys and queues of its Redis.

    ``redis`` says of each Redis target what only its server holds: streams or queues.
    """

    tables: tuple[str, ...] = Field(min_length=1)
    keys: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    redis: Mapping[str, Literal["streams", "queues"]] = Field(default_factory=dict)


class Preset(Section):
    """One file. ``sources`` are where its names are published."""

    title: str
    about: str
    sources: tuple[str, ...] = Field(min_length=1)
    fits: Fits
    configuration: Mapping[str, Any]


def preset_names() -> tuple[str, ...]:
    """Return the presets that there are, sorted."""
    folder = files("maintenance.presets")
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def preset_named(name: str) -> Preset:
    """Return a preset. Raises :class:`ConfigurationError` for one that is not there, or is no preset."""
    if name not in preset_names():
        raise ConfigurationError(
            f'preset: there is no preset "{name}". {did_you_mean(name, preset_names())}'
        )
    text = files("maintenance.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return read_preset(tomllib.loads(text))


def read_preset(given: Mapping[str, Any]) -> Preset:
    """Check a preset by itself. Raises :class:`ConfigurationError` listing every fault at once."""
    from maintenance.conf.whole import checked  # noqa: PLC0415 - which reads presets

    return checked(Preset, given)


class Merged:
    """The operator's mapping with a preset's under it, and where each value comes from."""

    def __init__(self, given: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.origins: dict[tuple[str, ...], str] = {}
        self.replaced: dict[tuple[str, ...], Any] = {}  # a preset's values that do not hold
        self.name = str(given.get(KEY, ""))
        self._environment = environment
        own = dict(given)
        self.mapping: dict[str, Any] = own
        if self.name:
            under = preset_named(self.name).configuration
            self.mapping = self._merged(under, own, ())
        else:
            self._note(own, (), OPERATOR)

    def _merged(
        self, under: Mapping[str, Any], own: Mapping[str, Any], path: tuple[str, ...]
    ) -> dict[str, Any]:
        replaced = {other for key in own for other in _INSTEAD.get(key, ()) if len(path) > 1}
        merged: dict[str, Any] = {}
        for key, value in under.items():
            at = (*path, key)
            if key in own and own[key] is False and isinstance(value, Mapping):
                continue
            if key in own and isinstance(value, Mapping) and isinstance(own[key], Mapping):
                merged[key] = self._merged(value, own[key], at)
            elif key not in own and key not in replaced:
                merged[key] = self._completed(value)
                self._note(value, at, f"preset {self.name}")
        for key, value in own.items():
            if value is False and isinstance(under.get(key), Mapping):
                self._note(value, (*path, key), OPERATOR)
            elif key not in merged:
                merged[key] = value
                self._note(value, (*path, key), OPERATOR)
                if key in under:
                    self.replaced[*path, key] = under[key]
        return merged

    def _completed(self, value: Any) -> Any:
        """Fill places of what is no URL: those are filled when a connection is made."""
        if isinstance(value, Mapping):
            return {key: self._completed(one) for key, one in value.items()}
        if isinstance(value, str) and "${" in value and "://" not in value:
            return filled(value, self._environment)
        return value

    def _note(self, value: Any, path: tuple[str, ...], origin: str) -> None:
        if isinstance(value, Mapping) and value:
            for key, one in value.items():
                self._note(one, (*path, str(key)), origin)
        else:
            self.origins[path] = origin


def merged(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Merged:
    """Lay the preset that ``given`` names under it. Raises :class:`ConfigurationError`."""
    return Merged(given, environment)


@dataclass(frozen=True, slots=True)
class OriginOfValue:
    """A value as it may be printed, and whose it is; ``replaces`` is a preset's that does not hold."""

    path: str
    value: str
    origin: str
    replaces: str | None


def values_with_origins(
    given: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Iterator[OriginOfValue]:
    """Yield every value that somebody wrote, by path. Raises :class:`ConfigurationError`."""
    whole = merged(given, environment)
    for path, origin in sorted(whole.origins.items()):
        value: Any = whole.mapping
        for part in path:
            # What "false" took away is in the mapping no more.
            value = value.get(part, False) if isinstance(value, Mapping) else value
        replaces = _printed_at(path, whole.replaced[path]) if path in whole.replaced else None
        yield OriginOfValue(".".join(path), _printed_at(path, value), origin, replaces)


def _printed_at(path: tuple[str, ...], value: Any) -> str:
    """Return a value in print; what is a secret although it is no password stays one.

    Who knows the address of a ping can say that all is well, and a header may let its reader in.
    """
    if isinstance(value, str) and not is_reference(value):
        match path:
            case ("load_test", _, "headers", _):
                return '"***"'
            case ("pings", _, "url"):
                scheme, _, rest = address_of(value).partition("://")
                return f'"{scheme}://{rest.partition("/")[0]}/***"'
    return _printed(value)


def _printed(value: Any) -> str:
    if isinstance(value, str):
        return f'"{shown(value)}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_printed, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_printed(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
