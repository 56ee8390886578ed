"""How Nginx passes requests on: kept connections, balancing, headers and time limits. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.web.server_configuration.nginx_places import (
    Place,
    header_names,
    name_of_server,
    seconds_of,
    upstream_named,
)
from maintenance.web.server_configuration.nginx_tree import NginxConfiguration, Scope

#: Nginx changes, 1.29.7: from then on connections to upstreams are HTTP/1.1 and kept by default.
KEPT_SINCE = "1.29.7"
#: ngx_http_upstream_module, keepalive_timeout; ngx_http_proxy_module, proxy_read_timeout.
KEEPALIVE_SECONDS = 60.0
READ_TIMEOUT_SECONDS = 60.0
#: Gunicorn's sync workers answer one request a connection (Gunicorn documentation, "keepalive").
_WITHOUT_KEEPALIVE = frozenset({"sync"})


def diagnose_upstreams(
    configuration: NginxConfiguration, places: list[Place], gunicorn: Mapping[str, Any]
) -> Iterator[Finding]:
    """Judge each location that passes requests on, and each upstream once.

    ``gunicorn`` are those of its settings that are known: ``keepalive``, ``timeout``, ``worker_class``.
    """
    seen: set[str] = set()
    for place in places:
        if not place.proxied_to:
            continue
        upstream = upstream_named(configuration, place.proxied_to)
        if upstream is None or not _kept_connections(upstream):
            yield from _nothing_kept(place, upstream, gunicorn)
        else:
            yield from _kept(place, upstream, gunicorn)
        if upstream is not None and place.proxied_to not in seen:
            seen.add(place.proxied_to)
            yield from _balancing(upstream)
        yield from _headers(place)
        yield from _limits(place, gunicorn)


def _kept_connections(upstream: Scope) -> int:
    text = upstream.value("keepalive", "0") if upstream.own("keepalive") else "0"
    return int(text) if text.isdigit() else 0


def _nothing_kept(
    place: Place, upstream: Scope | None, gunicorn: Mapping[str, Any]
) -> Iterator[Finding]:
    if gunicorn.get("worker_class") in _WITHOUT_KEEPALIVE and gunicorn.get("threads", 1) == 1:
        return  # such workers end every connection themselves
    if upstream is not None and upstream.own("keepalive"):
        return  # somebody turned it off
    yield Finding(
        code="nginx-no-keepalive",
        severity=Severity.INFO,
        subject=place.name,
        sentence=(
            f"{place.name} opens a connection to {place.proxied_to} for every request, unless this is"
            f" Nginx {KEPT_SINCE} or later."
        ),
        evidence={"directives": ["proxy_pass"]},
        advice=(
            "Name the backend in an upstream with keepalive 32, and set proxy_http_version 1.1 and"
            ' proxy_set_header Connection "".'
        ),
    )


def _kept(place: Place, upstream: Scope, gunicorn: Mapping[str, Any]) -> Iterator[Finding]:
    version = place.scope.value("proxy_http_version")
    connection = next(
        (
            each.arguments[1]
            for each in place.scope.effective("proxy_set_header")
            if len(each.arguments) > 1 and each.arguments[0].lower() == "connection"
        ),
        None,
    )
    lacking = [
        words
        for words, is_there in (
            ("proxy_http_version 1.1", version in {"1.1", "2"}),
            ('proxy_set_header Connection ""', connection == ""),
        )
        if not is_there
    ]
    # A variable is a map for WebSockets, whose default may well be empty.
    if lacking and not (connection or "").startswith("$"):
        yield Finding(
            code="nginx-keepalive-unused",
            severity=Severity.WARNING,
            subject=place.name,
            sentence=(
                f"The upstream {place.proxied_to} may keep connections, and {place.name} closes each"
                f" one: it lacks {' and '.join(lacking)} (which Nginx {KEPT_SINCE} and later do not"
                " need)."
            ),
            evidence={"missing": lacking, "directives": ["keepalive"]},
            advice=f"Add: {'; '.join(lacking)};",
        )
    kept = seconds_of(upstream.value("keepalive_timeout", "60s")) if upstream.own(
        "keepalive_timeout"
    ) else KEEPALIVE_SECONDS  # fmt: skip
    theirs = gunicorn.get("keepalive")
    if kept is not None and isinstance(theirs, int | float) and theirs <= kept:
        yield Finding(
            code="nginx-keepalive-outlives-gunicorn",
            severity=Severity.WARNING,
            subject=place.name,
            sentence=(
                f"Nginx keeps idle connections to {place.proxied_to} for {kept:.0f} s and Gunicorn"
                f" closes them after {theirs:g} s: a request that meets a closing one fails with 502,"
                " and a POST is not tried again."
            ),
            evidence={
                "nginx_seconds": kept,
                "gunicorn_seconds": theirs,
                "directives": ["keepalive"],
            },
            advice=(
                f"Set keepalive = {int(kept) + 15} in gunicorn.conf.py, or keepalive_timeout"
                f" {max(1, int(theirs) - 1)}s in the upstream."
            ),
        )


def _balancing(upstream: Scope) -> Iterator[Finding]:
    name = " ".join(upstream.block.arguments)
    servers = [each for each in upstream.block.block if each.name == "server"]
    if len(servers) > 1 and not upstream.own("zone"):
        yield Finding(
            code="nginx-upstream-without-zone",
            severity=Severity.INFO,
            subject=f"upstream {name}",
            sentence=(
                f"Each worker process of Nginx balances the {len(servers)} servers of {name} for"
                " itself: it knows neither the load nor the failures that the others have seen."
            ),
            evidence={"servers": len(servers), "directives": ["server"]},
            advice=f"Add zone {name} 64k to the upstream.",
        )
    for server in servers:
        if "max_fails=0" in server.arguments and len(servers) > 1:
            yield Finding(
                code="nginx-upstream-never-fails",
                severity=Severity.WARNING,
                subject=f"upstream {name}",
                sentence=(
                    f"{server.arguments[0]} of {name} has max_fails=0: while it is down, its share of"
                    " the requests goes on to wait for it."
                ),
                evidence={"place": server.place, "directives": ["server"]},
                advice="Take max_fails=0 out; the default is 1 failure in 10 s.",
            )


def _headers(place: Place) -> Iterator[Finding]:
    names = header_names(place.scope.effective("proxy_set_header"))
    if "host" not in names:
        yield Finding(
            code="nginx-host-not-passed",
            severity=Severity.WARNING,
            subject=place.name,
            sentence=(
                f"{place.name} passes {place.proxied_to} on as the host: Django refuses it"
                " (ALLOWED_HOSTS) or writes wrong addresses."
            ),
            evidence={"directives": ["proxy_set_header"]},
            advice="Add proxy_set_header Host $host;",
        )
    if "x-forwarded-proto" not in names:
        secure = any(
            "ssl" in listen.arguments or "443" in listen.arguments[0].rpartition(":")[2]
            for listen in place.server.own("listen")
            if listen.arguments
        )
        yield Finding(
            code="nginx-scheme-not-passed",
            severity=Severity.WARNING if secure else Severity.INFO,
            subject=place.name,
            sentence=(
                f"{place.name} does not say by X-Forwarded-Proto whether the visitor came by HTTPS:"
                " Django takes every request for plain HTTP, and redirects to HTTPS go round in"
                " circles."
            ),
            evidence={"directives": ["proxy_set_header"]},
            advice=(
                "Add proxy_set_header X-Forwarded-Proto $scheme; and SECURE_PROXY_SSL_HEADER in"
                " Django's settings."
            ),
        )


def _limits(place: Place, gunicorn: Mapping[str, Any]) -> Iterator[Finding]:
    read = seconds_of(place.scope.value("proxy_read_timeout", "60s")) or READ_TIMEOUT_SECONDS
    timeout = gunicorn.get("timeout")
    if isinstance(timeout, int | float) and timeout > read:
        yield Finding(
            code="nginx-gives-up-first",
            severity=Severity.INFO,
            subject=place.name,
            sentence=(
                f"Nginx gives up after {read:.0f} s (proxy_read_timeout) and Gunicorn works on for"
                f" {timeout:g} s: the visitor gets a 504, and a worker is busy for nobody."
            ),
            evidence={"nginx_seconds": read, "gunicorn_seconds": timeout},
            advice="Make Gunicorn's timeout the shorter one, or raise proxy_read_timeout there.",
        )
    retried = {a for e in place.scope.effective("proxy_next_upstream") for a in e.arguments}
    if "non_idempotent" in retried:
        yield Finding(
            code="nginx-posts-twice",
            severity=Severity.WARNING,
            subject=place.name,
            sentence=(
                f"{place.name} sends a POST to the next server when one fails or is slow: what it"
                " does may be done twice."
            ),
            evidence={"directives": ["proxy_next_upstream"]},
            advice="Take non_idempotent out of proxy_next_upstream.",
        )
    if not place.scope.effective("client_max_body_size"):
        yield Finding(
            code="nginx-upload-limit",
            severity=Severity.INFO,
            subject=name_of_server(place.server),
            sentence=(
                f"{name_of_server(place.server)} refuses uploads of more than 1 MB with 413, since no"
                " client_max_body_size is set."
            ),
            evidence={"directives": ["client_max_body_size"]},
            advice="Set what the site accepts, such as client_max_body_size 10m.",
        )
