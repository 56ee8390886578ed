"""Pages that Nginx keeps: for whom, for how long, and what happens under load. Pure."""

from collections.abc import Iterator

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import listed
from maintenance.web.server_configuration.nginx_places import Place
from maintenance.web.server_configuration.nginx_tree import NginxConfiguration

_FORGETTING = ("proxy_cache_bypass", "proxy_no_cache")


def diagnose_cache(
    configuration: NginxConfiguration, places: list[Place], session_cookie: str
) -> Iterator[Finding]:
    """Judge each location that keeps answers, and each folder they are kept in."""
    for place in places:
        if place.proxied_to and place.scope.value("proxy_cache", "off") != "off":
            yield from _mixed_up(place)
            yield from _logged_in(place, session_cookie)
            yield from _under_load(place)
    for folder in configuration.all_named("proxy_cache_path"):
        if folder.arguments and not any(a.startswith("max_size=") for a in folder.arguments):
            yield Finding(
                code="nginx-cache-unbounded",
                severity=Severity.WARNING,
                subject=folder.arguments[0],
                sentence=(
                    f"The cache in {folder.arguments[0]} has no max_size: it grows until the disk is"
                    " full."
                ),
                evidence={"place": folder.place, "directives": ["proxy_cache_path"]},
                advice="Add max_size=1g, or what the disk can spare.",
            )


def _mixed_up(place: Place) -> Iterator[Finding]:
    """Name what makes one visitor's page another's."""
    ignored = {
        argument.lower()
        for each in place.scope.effective("proxy_ignore_headers")
        for argument in each.arguments
    }
    key = " ".join(a for each in place.scope.effective("proxy_cache_key") for a in each.arguments)
    if "$http_cookie" in key or "$cookie_" in key:
        return
    harmful = sorted(ignored & {"set-cookie", "vary", "cache-control"})
    if not harmful:
        return
    yield Finding(
        code="nginx-cache-mixes-visitors",
        severity=Severity.CRITICAL,
        subject=place.name,
        sentence=(
            f"{place.name} keeps answers although they say they are one visitor's (ignored:"
            f" {listed(harmful)}): others get their page, or their session."
        ),
        evidence={"ignored": harmful, "directives": ["proxy_ignore_headers"]},
        advice="Take these out of proxy_ignore_headers: Django says Vary: Cookie for good reason.",
    )


def _logged_in(place: Place, cookie: str) -> Iterator[Finding]:
    missing = [name for name in _FORGETTING if not _heeds_visitors(place, name)]
    if not missing:
        return
    yield Finding(
        code="nginx-cache-for-logged-in",
        severity=Severity.WARNING,
        subject=place.name,
        sentence=(
            f"{place.name} keeps pages of people who are logged in ({' and '.join(missing)} do not"
            " heed the session): what somebody has just written is missing from their own pages"
            " until the time is over."
        ),
        evidence={"missing": missing, "directives": ["proxy_cache", "proxy_cache_valid"]},
        advice=(
            f"Add: proxy_cache_bypass $cookie_{cookie}; proxy_no_cache $cookie_{cookie};"
            " (deployments.*.session_cookie names another cookie)."
        ),
    )


def _heeds_visitors(place: Place, name: str) -> bool:
    """Tell whether a directive looks at anything of the request; a map may stand behind its name."""
    arguments = [a for each in place.scope.effective(name) for a in each.arguments]
    return any(argument.startswith("$") for argument in arguments)


def _under_load(place: Place) -> Iterator[Finding]:
    missing = []
    if place.scope.value("proxy_cache_lock", "off") != "on":
        missing.append("proxy_cache_lock on (many who ask at once cost one answer)")
    stale = {a for each in place.scope.effective("proxy_cache_use_stale") for a in each.arguments}
    if not stale - {"off"}:
        missing.append("proxy_cache_use_stale error timeout updating (an old page beats none)")
    elif "updating" in stale and place.scope.value("proxy_cache_background_update", "off") != "on":
        missing.append(
            "proxy_cache_background_update on (else the first visitor waits for the new page)"
        )
    if missing:
        yield Finding(
            code="nginx-cache-under-load",
            severity=Severity.INFO,
            subject=place.name,
            sentence=f"The cache of {place.name} would help more under load with {'; '.join(missing)}.",
            evidence={"missing": [words.partition(" ")[0] for words in missing]},
            advice="Set them beside proxy_cache.",
        )
