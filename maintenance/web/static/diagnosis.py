"""Verdicts about static files, from answers, a folder and settings. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from maintenance.conf import SiteTarget
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.web.static.fetch import Answer
from maintenance.web.static.folder import SHOWN, Manifest, StaticFolder
from maintenance.web.static.headers import StaticAnswer
from maintenance.web.static.own import OwnSettings

_NEEDED = frozenset({".css", ".js", ".mjs"})
_NGINX_STATIC = 'location /static/ { expires 1y; add_header Cache-Control "public, immutable"; }'


def _finding(  # noqa: PLR0917 - every finding has all of them
    code: str, severity: Severity, site: str, sentence: str, names: Sequence[str], advice: str
) -> Finding:
    evidence: dict[str, Any] = {"files": list(names[:SHOWN]), "file_count": len(names)}
    return Finding(code, severity, site, sentence, evidence, advice)


def diagnose_page(site: str, page: Answer) -> Iterator[Finding]:
    """Judge the page that names the static files."""
    if page.is_good:
        return
    said = page.fault or f"it answers {page.status}"
    yield Finding(
        code="site-unreachable",
        severity=Severity.CRITICAL,
        subject=site,
        sentence=f"{page.url} cannot be fetched from the worker's machine: {said}.",
        evidence={"status": page.status, "fault": page.fault},
        advice="See whether visitors get it; if they do, correct the url of this site.",
    )


def diagnose_answers(
    site: str, target: SiteTarget, static_url: str, answers: Sequence[StaticAnswer]
) -> Iterator[Finding]:
    """Judge what came back for static files: there, compressed, and how long they may be kept."""
    good = [one for one in answers if one.answer.is_good]
    bad = [one for one in answers if not one.answer.is_good]
    # A page stands without a picture, and falls without a style or a script.
    is_fatal = not good or any(one.suffix in _NEEDED for one in bad)
    severity = Severity.CRITICAL if is_fatal else Severity.WARNING
    yield from _unreachable(site, target, static_url, bad, severity)
    yield from _compression(site, good)
    yield from _caching(site, target, good)
    yield from _other_host(site, target, static_url, good)
    detours = [one.url for one in good if one.answer.redirects]
    if detours:
        yield _finding(
            "static-redirected",
            Severity.INFO,
            site,
            f"{counted(len(detours), 'static file')} came only after a redirect, which costs every"
            f" visitor a round trip: {listed(detours, 3)}.",
            detours,
            "Let STATIC_URL be the address that the redirect leads to.",
        )


def _unreachable(
    site: str,
    target: SiteTarget,
    static_url: str,
    bad: Sequence[StaticAnswer],
    severity: Severity,
) -> Iterator[Finding]:
    if not bad:
        return
    urls = [one.url for one in bad]
    said = [f"{one.url} ({one.answer.fault or f'it answers {one.answer.status}'})" for one in bad]
    where = "the CDN" if _is_elsewhere(target, static_url) else "the site"
    yield _finding(
        "static-unreachable",
        severity,
        site,
        f"{counted(len(bad), 'static file')} cannot be fetched from {where}: {listed(said, 3)}.",
        urls,
        "Run collectstatic where the server takes its files from; check STATIC_URL, and the origin"
        " and certificate of a CDN.",
    )


def _compression(site: str, good: Sequence[StaticAnswer]) -> Iterator[Finding]:
    plain = [one.url for one in good if one.should_be_encoded and not one.encoding]
    if plain:
        size = sum(one.answer.size_bytes for one in good if one.url in set(plain))
        yield _finding(
            "static-uncompressed",
            Severity.WARNING,
            site,
            f"{counted(len(plain), 'static file')} of text, {size / 1000:,.0f} kB, came uncompressed"
            f" though gzip and br were asked for: {listed(plain, 3)}.",
            plain,
            "Turn compression on for these types (nginx: gzip on and gzip_types, or gzip_static on"
            " for files that were compressed before); WhiteNoise sends what"
            " CompressedManifestStaticFilesStorage compressed.",
        )
    unvaried = [one.url for one in good if one.encoding and not one.varies]
    if unvaried:
        yield _finding(
            "static-without-vary",
            Severity.WARNING,
            site,
            f"{counted(len(unvaried), 'static file')} came compressed without Vary: Accept-Encoding:"
            f" a cache on the way may hand gzip to who cannot read it: {listed(unvaried, 3)}.",
            unvaried,
            "Add the header (nginx: gzip_vary on;).",
        )


def _caching(site: str, target: SiteTarget, good: Sequence[StaticAnswer]) -> Iterator[Finding]:
    least = target.minimum_max_age_seconds
    asked = [one for one in good if not one.is_kept]
    short = [
        one
        for one in good
        if one.is_kept and one.names_content and (one.max_age_seconds or 0) < least
    ]
    if asked:
        urls = [one.url for one in asked]
        yield _finding(
            "static-not-cached",
            Severity.WARNING,
            site,
            f"{counted(len(urls), 'static file')} came without leave to be kept: browsers fetch or"
            f" ask for them on every page: {listed(urls, 3)}.",
            urls,
            f"Send Cache-Control with a max-age; for names with a hash, nginx: {_NGINX_STATIC}",
        )
    if short:
        urls = [one.url for one in short]
        shortest = min(one.max_age_seconds or 0 for one in short)
        yield _finding(
            "static-cached-briefly",
            Severity.WARNING,
            site,
            f"{counted(len(urls), 'static file')} whose name changes with its content may be kept for"
            f" {seconds_in_words(shortest)} only, less than {seconds_in_words(least)}:"
            f" {listed(urls, 3)}.",
            urls,
            f"Such a file never changes: max-age may be a year. nginx: {_NGINX_STATIC}",
        )
    yield from _immutable(site, good)


def _immutable(site: str, good: Sequence[StaticAnswer]) -> Iterator[Finding]:
    mutable = [
        one.url
        for one in good
        if one.names_content and one.is_kept and "immutable" not in one.directives
    ]
    if mutable:
        yield _finding(
            "static-not-immutable",
            Severity.INFO,
            site,
            f"{counted(len(mutable), 'static file')} whose name changes with its content came"
            f" without immutable: a reload asks for each of them: {listed(mutable, 3)}.",
            mutable,
            "Add immutable to Cache-Control of files that carry a hash in their name.",
        )
    fixed = [one.url for one in good if not one.names_content and "immutable" in one.directives]
    if fixed:
        yield _finding(
            "static-immutable-without-hash",
            Severity.WARNING,
            site,
            f"{counted(len(fixed), 'static file')} came as immutable though the name says nothing of"
            f" the content: after a deploy visitors keep the old one: {listed(fixed, 3)}.",
            fixed,
            "Let Django put a hash into names (ManifestStaticFilesStorage), or leave immutable out"
            " and let max-age be short.",
        )


def _is_elsewhere(target: SiteTarget, static_url: str) -> bool:
    return urlsplit(urljoin(target.url, static_url)).netloc != urlsplit(target.url).netloc


def _other_host(
    site: str, target: SiteTarget, static_url: str, good: Sequence[StaticAnswer]
) -> Iterator[Finding]:
    """Judge what matters only where static files come from another host than the page."""
    absolute = urljoin(target.url, static_url)
    if target.url.startswith("https:") and absolute.startswith("http:"):
        yield Finding(
            code="static-mixed-content",
            severity=Severity.CRITICAL,
            subject=site,
            sentence=f"Pages come over https and name static files at {absolute}: browsers block them.",
            evidence={"static_url": absolute},
            advice="Give STATIC_URL as https://.",
        )
    if not _is_elsewhere(target, static_url):
        return
    closed = [
        one.url
        for one in good
        if one.is_font and not one.answer.headers.get("access-control-allow-origin")
    ]
    if closed:
        yield _finding(
            "static-font-without-cors",
            Severity.WARNING,
            site,
            f"{counted(len(closed), 'font')} of another host came without"
            f" Access-Control-Allow-Origin: browsers do not show it: {listed(closed, 3)}.",
            closed,
            "Let the CDN send Access-Control-Allow-Origin for fonts.",
        )


def diagnose_folder(
    site: str, folder: StaticFolder, own: OwnSettings | None, *, compresses: bool
) -> Iterator[Finding]:
    """Judge what was collected. ``compresses`` is whether answers came compressed."""
    for variants in folder.variants:
        yield from _variants(site, folder, variants.suffix, variants.missing, variants.stale,
                             present=variants.present)  # fmt: skip
    nothing = not any(variants.present for variants in folder.variants)
    if nothing and folder.compressible and not compresses:
        yield _finding(
            "static-not-precompressed",
            Severity.WARNING if own is not None and own.whitenoise else Severity.INFO,
            site,
            f"None of {counted(len(folder.compressible), 'static file')} of text has a compressed"
            " copy, and none was seen to be compressed on its way.",
            sorted(folder.compressible),
            "Compress them when they are collected (WhiteNoise:"
            " CompressedManifestStaticFilesStorage, which sends nothing compressed otherwise).",
        )
    if folder.manifest is not None:
        yield from _manifest(site, folder.manifest, "collectstatic")
    elif own is not None and own.names_hashed:
        yield Finding(
            code="static-manifest-missing",
            severity=Severity.CRITICAL,
            subject=site,
            sentence=f"There is no staticfiles.json in {folder.path}: pages that name a static file"
            " answer 500.",
            advice="Run collectstatic on this machine, or correct STATIC_ROOT.",
        )
    if folder.compressor is not None:
        yield from _manifest(site, folder.compressor, "compress --force")


def _variants(
    site: str,
    folder: StaticFolder,
    suffix: str,
    missing: Sequence[str],
    stale: Sequence[str],
    *,
    present: int,
) -> Iterator[Finding]:
    if present and missing:
        yield _finding(
            f"static-variant-missing-{suffix[1:]}",
            Severity.INFO,
            site,
            f"{len(missing):,} of {counted(len(folder.compressible), 'static file')} of text have no"
            f" {suffix} beside: {listed(list(missing), 3)}.",
            missing,
            "Compress after everything was collected; a file that does not get smaller needs none.",
        )
    if stale:
        yield _finding(
            f"static-variant-stale-{suffix[1:]}",
            Severity.WARNING,
            site,
            f"{counted(len(stale), f'{suffix} file')} in {folder.path} {'is' if len(stale) == 1 else 'are'}"
            f" older than, or another content than, what it stands for: visitors get the old one:"
            f" {listed(list(stale), 3)}.",
            stale,
            "Compress them anew after each collectstatic.",
        )


def _manifest(site: str, manifest: Manifest, command: str) -> Iterator[Finding]:
    remedy = f"Run {command} again, and deploy the folder as a whole."
    if manifest.fault:
        yield Finding(
            code="static-manifest-broken",
            severity=Severity.CRITICAL,
            subject=f"{site} {manifest.path}",
            sentence=f"{manifest.path} cannot be used: {manifest.fault}.",
            advice=remedy,
        )
    if manifest.missing:
        yield _finding(
            "static-manifest-dangling",
            Severity.CRITICAL,
            f"{site} {manifest.path}",
            f"{manifest.path} names {counted(len(manifest.missing), 'file')} that"
            f" {'is' if len(manifest.missing) == 1 else 'are'} not there:"
            f" {listed(list(manifest.missing), 3)}.",
            manifest.missing,
            remedy,
        )
    if manifest.altered:
        yield _finding(
            "static-file-altered",
            Severity.WARNING,
            f"{site} {manifest.path}",
            f"{counted(len(manifest.altered), 'file')} changed under a name that stands for another"
            f" content; who has the old one keeps it: {listed(list(manifest.altered), 3)}.",
            manifest.altered,
            remedy,
        )
    if manifest.older_than:
        yield Finding(
            code="static-manifest-stale",
            severity=Severity.WARNING,
            subject=f"{site} {manifest.path}",
            sentence=f"{manifest.path} is older than {manifest.older_than}: pages get the styles and"
            " scripts of before.",
            evidence={"newer": manifest.older_than},
            advice=remedy,
        )


def diagnose_settings(
    site: str, own: OwnSettings, folder: StaticFolder | None
) -> Iterator[Finding]:
    """Judge the settings of the site's own project."""
    if own.compress is False:
        yield Finding(
            code="compressor-off",
            severity=Severity.WARNING,
            subject=site,
            sentence="COMPRESS_ENABLED is off: styles and scripts go out one by one, as written.",
            advice="Set COMPRESS_ENABLED = True in production.",
        )
    elif own.compress and not own.compress_offline:
        yield Finding(
            code="compressor-online",
            severity=Severity.INFO,
            subject=site,
            sentence="COMPRESS_OFFLINE is off: the first visitor after a deploy waits for compression.",
            advice="Set COMPRESS_OFFLINE = True, and run compress when you deploy.",
        )
    elif own.compress and folder is not None and folder.compressor is None:
        yield Finding(
            code="compressor-manifest-missing",
            severity=Severity.CRITICAL,
            subject=site,
            sentence=f"COMPRESS_OFFLINE is on, and {folder.path} has no CACHE/manifest.json: pages with"
            " compressed blocks answer 500.",
            advice="Run compress on this machine after collectstatic.",
        )
    if not own.names_hashed:
        yield Finding(
            code="static-names-without-hash",
            severity=Severity.INFO,
            subject=site,
            sentence="The names of static files say nothing of their content: caches have to be short,"
            " or visitors keep old files after a deploy.",
            advice="Use ManifestStaticFilesStorage, or WhiteNoise's"
            " CompressedManifestStaticFilesStorage.",
        )
    if own.uncollected:
        yield _finding(
            "static-uncollected",
            Severity.WARNING,
            site,
            f"{counted(len(own.uncollected), 'static file')} changed or came since collectstatic ran:"
            f" {listed(list(own.uncollected), 3)}.",
            own.uncollected,
            "Run collectstatic when you deploy.",
        )
