"""Static files as a visitor gets them, and as ``collectstatic`` left them."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from maintenance.conf import SiteTarget
from maintenance.core.findings import Finding, by_seriousness, unavailable, worst_severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted
from maintenance.web.static.diagnosis import (
    diagnose_answers,
    diagnose_folder,
    diagnose_page,
    diagnose_settings,
)
from maintenance.web.static.fetch import Answer, Fetcher
from maintenance.web.static.folder import StaticFolder, measure_folder
from maintenance.web.static.headers import StaticAnswer, read_answer
from maintenance.web.static.links import one_of_each_kind, readable, static_links
from maintenance.web.static.own import own_settings

#: Files of the folder that are asked for where the page names few.
_FROM_FOLDER = 6


def review_static_files(job: Job[SiteTarget, NoOptions]) -> Report:
    """Fetch the page and a bounded number of its static files; look at the folder behind them.

    Makes at most ``maximum_requests`` requests, one after the other. What the worker's machine
    does not have is said to be unavailable.
    """
    site, target = job.target_name, job.target
    own = own_settings(target)
    static_url = own.static_url if own else target.static_url
    job.progress.update(0, phase="looking at the folder", unit="requests")
    folder, withheld = _folder(site, own.static_root if own else target.static_root)
    fetcher = Fetcher(target.maximum_requests, target.timeout_seconds)
    page = fetcher.get(target.url)
    answers = _fetch_files(job, fetcher, page, static_url, folder)
    findings = [
        *withheld,
        *diagnose_page(site, page),
        *diagnose_answers(site, target, static_url, answers),
        *(
            diagnose_folder(site, folder, own, compresses=any(a.encoding for a in answers))
            if folder
            else ()
        ),
        *(diagnose_settings(site, own, folder) if own else ()),
    ]
    if not answers and page.is_good:
        findings.append(
            unavailable(
                "static-files-unknown",
                site,
                "how static files are sent",
                f"a page that names some below {urljoin(target.url, static_url)}, or static_root",
            )
        )
    return _report(job, findings, answers, folder, requests=target.maximum_requests - fetcher.left)


def _folder(site: str, root: str) -> tuple[StaticFolder | None, list[Finding]]:
    if not root:
        return None, []
    try:
        return measure_folder(root), []
    except OSError as error:
        what = "what collectstatic left"
        needs = f"the folder {root} on the worker's machine ({error.strerror})"
        return None, [unavailable("static-root-unreadable", site, what, needs)]


def _fetch_files(
    job: Job[SiteTarget, NoOptions],
    fetcher: Fetcher,
    page: Answer,
    static_url: str,
    folder: StaticFolder | None,
) -> list[StaticAnswer]:
    target = job.target
    links: list[str] = []
    if page.is_good:
        html = readable(page.body, page.headers.get("content-encoding", ""))
        links = static_links(html, page.url, static_url)
    urls = one_of_each_kind([*links, *_urls_of(target, static_url, folder)], fetcher.left)
    hashed = frozenset(
        name.rpartition("/")[2] for name in (folder.names.values() if folder else ())
    )
    page_parts = urlsplit(target.url)
    answers = []
    for done, url in enumerate(dict.fromkeys(urls), 1):
        if fetcher.left <= 0:
            break
        job.progress.update(done, len(urls), phase="fetching static files", unit="requests")
        elsewhere = urlsplit(url).netloc != page_parts.netloc
        origin = f"{page_parts.scheme}://{page_parts.netloc}" if elsewhere else ""
        answers.append(read_answer(fetcher.get(url, origin=origin), hashed))
    return answers


def _urls_of(target: SiteTarget, static_url: str, folder: StaticFolder | None) -> Iterator[str]:
    """Yield the addresses of the largest files of text in the folder, by the names pages use."""
    if folder is None:
        return
    largest = sorted(folder.compressible, key=lambda name: -folder.compressible[name])
    hashed = set(folder.names.values())
    chosen = [name for name in largest if not folder.names or name in hashed][:_FROM_FOLDER]
    for name in chosen:
        yield urljoin(urljoin(target.url, static_url), quote(name))


def _report(
    job: Job[SiteTarget, NoOptions],
    findings: Sequence[Finding],
    answers: Sequence[StaticAnswer],
    folder: StaticFolder | None,
    *,
    requests: int,
) -> Report:
    good = [one for one in answers if one.answer.is_good]
    text = [one for one in good if one.should_be_encoded or one.encoding]
    encoded = sum(bool(one.encoding) for one in text)
    kept = sum(one.is_kept for one in good)
    sentence = (
        f"{counted(len(good), 'static file')} of {len(answers)} came in {counted(requests, 'request')};"
        f" {encoded} of {len(text)} of text compressed, {kept} with leave to be kept"
    )
    if folder is not None:
        sentence += f"; {counted(folder.files, 'file')} in {folder.path}"
    return Report(
        title=f"Static files of {job.target_name}",
        summary=f"{sentence}. {counted(len(findings), 'finding')}, at worst {worst_severity(findings)}."
        if findings
        else f"{sentence}. Nothing needs attention.",
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of("Requests", [_row(one) for one in answers]),) if answers else (),
        facts={
            "requests": requests,
            "maximum_requests": job.target.maximum_requests,
            "folder_files": folder.files if folder else None,
            "folder_is_whole": folder.is_whole if folder else None,
            "folder_unread_files": folder.manifest.unread if folder and folder.manifest else None,
        },
        samples=(
            *((Sample("static_files_compressed_ratio", encoded / len(text)),) if text else ()),
            *((Sample("static_files_cached_ratio", kept / len(good)),) if good else ()),
        ),
    )


def _row(one: StaticAnswer) -> dict[str, Any]:
    headers = one.answer.headers
    return {
        "url": one.url,
        "answer": one.answer.fault or str(one.answer.status),
        "size_bytes": one.answer.size_bytes if one.answer.is_good else None,
        "content_encoding": one.encoding,
        "cache_control": headers.get("cache-control", ""),
        "vary": headers.get("vary", ""),
        "name_has_hash": "yes" if one.names_content else "no",
        "cache": headers.get("cf-cache-status") or headers.get("x-cache") or headers.get("age", ""),
        "duration_seconds": one.answer.seconds,
    }
