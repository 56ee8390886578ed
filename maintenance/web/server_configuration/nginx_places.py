"""What a location does, what it is called, and which servers stand behind it. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from maintenance.web.server_configuration.nginx_tree import Directive, NginxConfiguration, Scope

_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800,
            "M": 2_592_000, "y": 31_536_000}  # fmt: skip
_TIME = re.compile(r"(\d+)\s*(ms|[smhdwMy]?)")


@dataclass(frozen=True, slots=True)
class Place:
    """A location of one server."""

    server: Scope
    scope: Scope

    @property
    def path(self) -> str:
        """What the location matches, as it is written: ``/static/``, ``~ \\.php$``."""
        return " ".join(self.scope.block.arguments)

    @property
    def name(self) -> str:
        """Server and location, for a sentence: ``books.example /static/``."""
        return f"{name_of_server(self.server)} {self.path}"

    @property
    def proxied_to(self) -> str:
        """The host that proxy_pass names, empty for a location that answers by itself."""
        passes = self.scope.own("proxy_pass")
        if not passes or not passes[0].arguments:
            return ""
        return re.sub(r"\Ahttps?://", "", passes[0].arguments[0]).split("/", 1)[0]

    @property
    def serves_files(self) -> bool:
        """Whether it answers from a folder of its own."""
        return not self.proxied_to and bool(self.scope.own("alias") or self.scope.own("root"))


def places_of(configuration: NginxConfiguration) -> Iterator[Place]:
    """Yield every location of every server."""
    for server in servers_of(configuration):
        for location in server.within("location"):
            yield Place(server, location)


def servers_of(configuration: NginxConfiguration) -> list[Scope]:
    """Return the server blocks; within an upstream the word names an address."""
    return [
        each
        for each in configuration.http.within("server")
        if each.block.block and each.blocks[-2].name != "upstream"
    ]


def name_of_server(server: Scope) -> str:
    """Return the first name of a server, or where it listens."""
    names = server.own("server_name")
    if names and names[0].arguments and names[0].arguments[0] not in {"", "_"}:
        return names[0].arguments[0]
    listens = server.own("listen")
    return f"server on {listens[0].arguments[0]}" if listens and listens[0].arguments else "server"


def upstream_named(configuration: NginxConfiguration, name: str) -> Scope | None:
    """Return the upstream block of this name, if it is one."""
    for upstream in configuration.http.within("upstream"):
        if upstream.block.arguments[:1] == (name,):
            return upstream
    return None


def seconds_of(text: str) -> float | None:
    """Read a time of Nginx (``60s``, ``1h 30m``, ``1y``) in seconds; ``None`` for what is none."""
    parts = _TIME.findall(text)
    if not parts or _TIME.sub("", text).strip():
        return None
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def header_names(directives: list[Directive]) -> set[str]:
    """Return the names that add_header or proxy_set_header set, in lower case."""
    return {each.arguments[0].lower() for each in directives if each.arguments}
