"""One look at an Nginx configuration: all rules, and the guide's directives beside what is there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted
from maintenance.web.server_configuration.nginx_cache import diagnose_cache
from maintenance.web.server_configuration.nginx_delivery import diagnose_delivery
from maintenance.web.server_configuration.nginx_places import (
    Place,
    name_of_server,
    places_of,
    servers_of,
)
from maintenance.web.server_configuration.nginx_tree import NginxConfiguration, Scope, read_nginx
from maintenance.web.server_configuration.nginx_upstreams import diagnose_upstreams

#: What the guide prints for Nginx, "Nginx Configuration" and "Load Balancing".
GUIDE_DIRECTIVES: Mapping[str, str] = {
    "proxy_cache_path": "levels=1:2 keys_zone=...:10m max_size=1g inactive=60m",
    "listen": "80",
    "server_name": "example.com",
    "gzip": "on",
    "gzip_vary": "on",
    "gzip_proxied": "any",
    "gzip_comp_level": "6",
    "gzip_types": "styles, scripts, JSON, XML",
    "alias": "static and media files",
    "expires": "1y static, 30d media",
    "add_header": "Cache-Control, X-Cache-Status",
    "proxy_pass": "Gunicorn",
    "proxy_set_header": "Host, X-Real-IP, X-Forwarded-For",
    "proxy_cache": "on",
    "proxy_cache_valid": "200 10m",
    "proxy_cache_use_stale": "error timeout updating http_5xx",
    "proxy_cache_lock": "on",
    "least_conn": "in the upstream",
    "server": "weight=1",
    "keepalive": "32",
}
#: Which of them no rule looks at: that they are set is all that is said.
_NOT_JUDGED = frozenset(
    {"listen", "server_name", "gzip_proxied", "proxy_pass", "least_conn", "server"}
)
#: Shown in a table, no more of each.
_LONGEST_VALUE = 120


def review_nginx(
    path: str,
    *,
    cpu_count: int | None,
    gunicorn: Mapping[str, Any],
    session_cookie: str,
) -> Report:
    """Read a configuration with its includes and judge it.

    ``gunicorn`` are settings of the server behind it, as far as they are known. Raises ``OSError``
    for a file that cannot be read, and ``Skipped`` without crossplane.
    """
    configuration = read_nginx(Path(path))
    servers, places = servers_of(configuration), list(places_of(configuration))
    findings = [
        *_unread(configuration),
        *_processes(configuration, cpu_count),
        *diagnose_delivery(servers, places),
        *diagnose_cache(configuration, places, session_cookie),
        *diagnose_upstreams(configuration, places, gunicorn),
        *_log_times(configuration, servers),
    ]
    once = {(finding.code, finding.subject, finding.sentence): finding for finding in findings}
    found = tuple(by_seriousness(once.values()))
    return Report(
        title=f"Nginx ({path})",
        summary=(
            f"{counted(len(servers), 'server')} with {counted(len(places), 'location')} in {path}."
        ),
        findings=found,
        tables=(
            Table.of("The guide's directives of Nginx", list(_guide_rows(configuration, found))),
            Table.of("Locations of Nginx", [_row(place) for place in places]),
        ),
    )


def _unread(configuration: NginxConfiguration) -> Iterator[Finding]:
    for fault in configuration.faults:
        yield unavailable("nginx-unread", fault.split(" ")[0], "a part of Nginx", f"a file that can be read: {fault}")  # fmt: skip


def _processes(configuration: NginxConfiguration, cpu_count: int | None) -> Iterator[Finding]:
    if not configuration.is_whole:
        return  # a file that another one includes
    processes = configuration.main.value("worker_processes", "1")
    if processes.isdigit() and cpu_count is not None and int(processes) == 1 < cpu_count:
        yield Finding(
            code="nginx-worker-processes",
            severity=Severity.WARNING,
            subject="worker_processes",
            sentence=(
                f"Nginx has one worker process, and the machine {cpu_count} processors: compressing"
                " and TLS share a single one."
            ),
            evidence={"directives": ["worker_processes"]},
            advice="Set worker_processes auto.",
        )


def _log_times(configuration: NginxConfiguration, servers: Sequence[Scope]) -> Iterator[Finding]:
    formats = {
        each.arguments[0]: " ".join(each.arguments[1:])
        for each in configuration.all_named("log_format")
        if each.arguments
    }
    for server in servers:
        logs = [e for e in server.effective("access_log") if e.arguments[:1] != ("off",)]
        if not configuration.is_whole and not logs:
            continue  # what holds is in a file that was not read
        names = [e.arguments[1] if len(e.arguments) > 1 else "combined" for e in logs]
        names = names or ([] if server.effective("access_log") else ["combined"])
        if names and not any("$request_time" in formats.get(name, "") for name in names):
            yield Finding(
                code="nginx-log-without-time",
                severity=Severity.INFO,
                subject=name_of_server(server),
                sentence=(
                    f"The access log of {name_of_server(server)} does not say how long requests"
                    " took, so that nobody can compare them with their targets."
                ),
                evidence={"directives": ["log_format"]},
                advice="Add $request_time to its log_format, and name that under logs.",
            )


def _guide_rows(
    configuration: NginxConfiguration, findings: Sequence[Finding]
) -> Iterator[dict[str, Any]]:
    spoken_of = {
        name: finding.code
        for finding in reversed(findings)
        for name in finding.evidence.get("directives", ())
    }
    for name, printed in GUIDE_DIRECTIVES.items():
        found = configuration.all_named(name)
        values = list(dict.fromkeys(" ".join(each.arguments) for each in found if not each.block))
        text = "; ".join(values) or ("set" if found else None)
        is_set = "set" if name in _NOT_JUDGED else "fits"
        verdict = is_set if found else "not set"
        yield {
            "directive": name,
            "guide": printed,
            "deployed": text[:_LONGEST_VALUE] if text else None,
            "verdict": f"see {spoken_of[name]}" if name in spoken_of else verdict,
        }


def _row(place: Place) -> dict[str, Any]:
    return {
        "location": place.name,
        "answers_from": place.proxied_to or ("files" if place.serves_files else "rules"),
        "kept": place.scope.value("proxy_cache", "off") if place.proxied_to else None,
        "expires": place.scope.value("expires", "") or None,
    }
