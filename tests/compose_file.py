"""The compose files, read as Compose reads them, as far as they need it: variables, dollars, merges, overrides."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_FILE = ROOT / "docker-compose.yml"
#: Laid over it for a site whose servers publish no port.
ATTACH_FILE = ROOT / "docker-compose.attach.yml"

#: Lists that are one value: a file that has one replaces it.
_REPLACED = frozenset({"command", "entrypoint", "test"})

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:[-+?])(?P<text>[^}]*))?\})"
)


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One service: what its containers execute, and what must be the case before."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health: Sequence[str]
    depends_on: Mapping[str, str]
    grace_seconds: float
    replicas: int
    body: Mapping[str, Any]


def read_compose(
    environment: Mapping[str, str] | None = None,
    profile: str = "all",
    files: Sequence[Path] = (COMPOSE_FILE,),
) -> dict[str, ComposeService]:
    """Return the services of a profile by name; each comes after those that it depends on.

    Of several files each is laid over those before it. Raises ``ValueError`` for a variable that one
    of them requires and ``environment`` has not.
    """
    body = _filled(
        laid_over(*(yaml.safe_load(path.read_text()) for path in files)), environment or {}
    )
    mine = {
        name: _service(name, service)
        for name, service in body["services"].items()
        if profile in service["profiles"]
    }
    return {name: mine[name] for name in _in_order(mine)}


def laid_over(*bodies: Mapping[str, Any]) -> dict[str, Any]:
    """Merge files as Compose does: mappings key by key, lists one after the other, the last value counts."""
    merged: dict[str, Any] = {}
    for body in bodies:
        for key, value in body.items():
            before = merged.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                merged[key] = laid_over(before, value)
            elif isinstance(before, list) and isinstance(value, list) and key not in _REPLACED:
                merged[key] = [*before, *(each for each in value if each not in before)]
            else:
                merged[key] = value
    return merged


def _service(name: str, body: Mapping[str, Any]) -> ComposeService:
    return ComposeService(
        name=name,
        command=body["command"],
        environment={**_variables_of(body.get("env_file", ())), **body.get("environment", {})},
        health=body.get("healthcheck", {}).get("test", ()),
        depends_on={on: rule["condition"] for on, rule in body.get("depends_on", {}).items()},
        grace_seconds=float(body["stop_grace_period"].removesuffix("s")),
        replicas=body["deploy"].get("replicas", 1),
        body=body,
    )


def _variables_of(paths: Sequence[str]) -> dict[str, str]:
    """Return what files of variables hold, one ``NAME=value`` a line; values may be quoted."""
    lines = [line for path in paths for line in Path(path).read_text().splitlines()]
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line, comments=True))


def _in_order(services: Mapping[str, ComposeService]) -> list[str]:
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in services:
            return
        for before in services[name].depends_on:
            add(before)
        order.append(name)

    for name in services:
        add(name)
    return order


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, environment), value)
    if isinstance(value, dict):
        return {key: _filled(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environment) for each in value]
    return value


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    given = environment.get(found["name"], "")
    if found["kind"] == ":?" and not given:
        raise ValueError(f"{found['name']} is required: {found['text']}")
    if found["kind"] == ":+":
        return found["text"] if given else ""
    return given or found["text"] or ""


def words_of(service: ComposeService) -> Iterator[str]:
    """Yield every string of its body."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for each in value.values():
                yield from walk(each)
        elif isinstance(value, list):
            for each in value:
                yield from walk(each)
        else:
            yield str(value)

    return walk(service.body)
