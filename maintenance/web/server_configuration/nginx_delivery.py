"""How Nginx delivers: compressed, kept by browsers, from the right folder, with all headers. Pure."""

from collections.abc import Iterator

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import listed
from maintenance.web.server_configuration.nginx_places import (
    Place,
    header_names,
    name_of_server,
    seconds_of,
)
from maintenance.web.server_configuration.nginx_tree import Scope

#: What pages consist of beside HTML, which Nginx compresses by itself.
TEXT_TYPES = ("text/css", "application/json")
#: Either is right for scripts; mime.types has the first, older ones the second.
SCRIPT_TYPES = ("application/javascript", "text/javascript")
#: The guide's level; above, processors work twice as long for a per cent of the size.
HIGHEST_COMPRESSION = 6
#: The guide keeps media for 30 days; what Lighthouse's "efficient cache policy" lets pass.
EXPIRES_SECONDS = 30 * 86_400


def diagnose_delivery(servers: list[Scope], places: list[Place]) -> Iterator[Finding]:
    """Judge compression a server, and files and headers a location."""
    for server in servers:
        inside = [place for place in places if place.server is server]
        if any(place.proxied_to or place.serves_files for place in inside):
            yield from _compression(server, inside)
    for place in places:
        yield from _alias(place)
        if place.serves_files:
            yield from _kept_by_browsers(place)
        yield from _dropped_headers(place)


def _compression(server: Scope, places: list[Place]) -> Iterator[Finding]:
    name = name_of_server(server)
    answering = [
        place.scope
        for place in places
        # Who turns it off in one location means it (secrets beside a visitor's words, event streams).
        if (place.proxied_to or place.serves_files) and not place.scope.own("gzip")
    ]
    if not answering:
        return
    off = [scope for scope in answering if scope.value("gzip", "off") != "on"]
    if off:
        everywhere = len(off) == len(answering)
        yield Finding(
            code="nginx-gzip-off",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} sends text uncompressed"
                + (
                    ""
                    if everywhere
                    else f" in {listed([' '.join(s.block.arguments) for s in off])}"
                )
                + ": pages, styles and scripts are three to five times as large as they need be."
            ),
            evidence={"directives": ["gzip"]},
            advice="Set gzip on, gzip_vary on and gzip_types for styles, scripts and JSON.",
        )
        return
    types = {t for each in answering[0].effective("gzip_types") for t in each.arguments}
    missing = [t for t in TEXT_TYPES if t not in types]
    if not types & set(SCRIPT_TYPES):
        missing.append(SCRIPT_TYPES[0])
    if missing and "*" not in types:
        yield Finding(
            code="nginx-gzip-types",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} compresses, but not {listed(missing)}: without gzip_types it is HTML alone."
            ),
            evidence={"directives": ["gzip_types"], "missing": missing},
            advice=f"Add {' '.join(missing)} to gzip_types.",
        )
    if answering[0].value("gzip_vary", "off") != "on":
        yield Finding(
            code="nginx-gzip-vary",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{name} compresses without saying Vary: Accept-Encoding: a cache on the way may send"
                " compressed bytes to somebody who cannot read them."
            ),
            evidence={"directives": ["gzip_vary"]},
            advice="Set gzip_vary on.",
        )
    level = answering[0].value("gzip_comp_level", "1")
    if level.isdigit() and int(level) > HIGHEST_COMPRESSION:
        yield Finding(
            code="nginx-gzip-level",
            severity=Severity.INFO,
            subject=name,
            sentence=(
                f"{name} compresses at level {level}: each answer takes much longer than at"
                f" {HIGHEST_COMPRESSION}, for about a per cent of its size."
            ),
            evidence={"directives": ["gzip_comp_level"]},
            advice=f"Set gzip_comp_level {HIGHEST_COMPRESSION} or lower.",
        )


def _alias(place: Place) -> Iterator[Finding]:
    aliases = place.scope.own("alias")
    arguments = place.scope.block.arguments
    if not aliases or not aliases[0].arguments or arguments[0] in {"~", "~*", "="}:
        return
    path, folder = arguments[-1], aliases[0].arguments[0]
    if folder.endswith("/") and not path.endswith("/"):
        yield Finding(
            code="nginx-alias-escapes",
            severity=Severity.CRITICAL,
            subject=place.name,
            sentence=(
                f"location {path} has no slash at its end and its alias {folder} has one:"
                f" {path}../ reaches files beside the folder, such as the site's settings."
            ),
            evidence={"place": aliases[0].place, "directives": ["alias"]},
            advice=f"Write location {path}/ with this alias.",
        )
    elif path.endswith("/") and not folder.endswith("/"):
        yield Finding(
            code="nginx-alias-misses",
            severity=Severity.WARNING,
            subject=place.name,
            sentence=(
                f"location {path} ends in a slash and its alias {folder} does not: {path}a.css is"
                f" looked for in {folder}a.css, and not found."
            ),
            evidence={"place": aliases[0].place, "directives": ["alias"]},
            advice=f"Write alias {folder}/.",
        )


def _kept_by_browsers(place: Place) -> Iterator[Finding]:
    scope = place.scope
    values = [
        each.arguments[1]
        for each in scope.effective("add_header")
        if len(each.arguments) > 1 and each.arguments[0].lower() == "cache-control"
    ]
    if any(word in value for value in values for word in ("max-age", "no-store", "no-cache")):
        return  # somebody has decided
    expires = scope.effective("expires")
    text = " ".join(expires[-1].arguments).removeprefix("modified ") if expires else "off"
    seconds = seconds_of(text)
    if text == "max" or text.startswith(("$", "@")) or (seconds or 0) >= EXPIRES_SECONDS:
        return
    is_brief = seconds is not None and seconds > 0
    yield Finding(
        code="nginx-files-not-cached",
        severity=Severity.INFO if is_brief else Severity.WARNING,
        subject=place.name,
        sentence=(
            f"Files below {place.path} are kept by browsers for {text} only."
            if is_brief
            else f"Nothing says how long browsers may keep files below {place.path}: they ask for"
            " them again and again."
        ),
        evidence={"directives": ["expires"], "expires_seconds": seconds},
        advice=(
            "Set expires: a year where names hold a hash (ManifestStaticFilesStorage), 30 days for"
            " what people uploaded. review_static_files sees what is sent, and whether immutable fits"
            " the names."
        ),
    )


def _dropped_headers(place: Place) -> Iterator[Finding]:
    own, outer = place.scope.own("add_header"), place.scope.outer("add_header")
    dropped = sorted(header_names(outer) - header_names(own))
    if not own or not dropped or place.scope.value("add_header_inherit", "on") == "merge":
        return
    yield Finding(
        code="nginx-headers-dropped",
        severity=Severity.WARNING,
        subject=place.name,
        sentence=(
            f"{place.name} sets a header of its own, and thereby sends none of those set around it:"
            f" {listed(dropped)}."
        ),
        evidence={"dropped": dropped, "place": own[0].place, "directives": ["add_header"]},
        advice="Repeat them there (from 1.29.3 on: add_header_inherit merge).",
    )
