"""The load test as a run: look at the pages once, make the load, judge what came of it."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from maintenance.conf import LoadTestTarget, Thresholds
from maintenance.core.errors import Skipped
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.web.load_test.fence import NotAllowed, require_allowed
from maintenance.web.load_test.options import LoadTestOptions
from maintenance.web.load_test.plan import Page, Plan, plan_of
from maintenance.web.load_test.process import generate
from maintenance.web.load_test.report import LeftOut, LoadTestRun, planned_report, report_of

_AGENT = "celery-maintenance (load test)"


def run_load_test(
    job: Job[LoadTestTarget, LoadTestOptions],
    thresholds: Thresholds,
    route_requests: Mapping[str, float],
) -> Report:
    """Put a bounded load on a site's own pages and compare it with the targets and the last time.

    ``route_requests`` are the requests of the last quarter by route, of the target's log. Raises
    ``Skipped`` where the host is not allowed, no page is known or comes, or Locust is missing, and
    :class:`TargetUnavailable` where the generator breaks.
    """
    plan = plan_of(job.target, route_requests)
    try:
        require_allowed(plan.base_url, plan.allowed_hosts)
    except NotAllowed as refusal:
        raise Skipped(
            f'The load test "{job.target_name}" is not allowed: {refusal}. Only add a host that is'
            " yours, and whose visitors can bear it."
        ) from None
    if not plan.pages:
        raise Skipped(
            f'no page is known: the log "{job.target.log}" has no requests of the last quarter to'
            " pages with a fixed path yet; give `pages`, or wait for review_error_rates."
        )
    if job.options.dry_run:
        return planned_report(job.target_name, plan, job.previous_state)
    if importlib.util.find_spec("locust") is None:
        raise Skipped("Locust is missing: pip install celery-maintenance[load-test].")
    good, left_out = looked_at(plan)
    if not good:
        reasons = "; ".join(f"{page.path}: {page.reason}" for page in left_out[:3])
        raise Skipped(f"no page of {plan.base_url} answers as a page should ({reasons}).")
    plan = replace(plan, pages=good)
    _begin_once(job)
    result = generate(
        plan,
        lambda seconds, requests: job.progress.update(
            requests, phase=f"{seconds:.0f} of {plan.duration_seconds:.0f} s", unit="requests"
        ),
    )
    return report_of(job, LoadTestRun(plan, result, left_out), thresholds, time.time())


def _begin_once(job: Job[LoadTestTarget, LoadTestOptions]) -> None:
    """Note that the load begins. Raises ``Skipped`` where an attempt that was lost had begun one.

    Whatever ended that attempt may have been the load's doing.
    """
    action = Action("load test", job.target_name, "", "the load begins")
    key = f"{action.kind} {action.subject}"
    if key in job.steps.done():
        raise Skipped(
            "an earlier attempt was lost while it made load; a load test is not repeated by itself."
        )
    job.steps.record(key, Outcome(action, Verdict.PLANNED))


def looked_at(plan: Plan) -> tuple[tuple[Page, ...], tuple[LeftOut, ...]]:
    """Ask for each page once, one after the other; return those that come, and why others do not.

    No redirect is followed: its page is left out, wherever it leads.
    """
    good: list[Page] = []
    left_out: list[LeftOut] = []
    for page in plan.pages:
        reason = _fault_of(plan, page)
        if reason:
            left_out.append(LeftOut(page.path, reason))
        else:
            good.append(page)
    return _with_whole_shares(good), tuple(left_out)


def _with_whole_shares(pages: Sequence[Page]) -> tuple[Page, ...]:
    total = sum(page.share_ratio for page in pages)
    return tuple(Page(page.path, page.share_ratio / total) for page in pages)


def _fault_of(plan: Plan, page: Page) -> str:
    """Return why a page cannot be part of the load; empty where it comes."""
    url = plan.base_url + page.path
    require_allowed(url, plan.allowed_hosts)
    parts = urlsplit(url)
    assert parts.hostname is not None
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=plan.timeout_seconds)
    try:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("GET", path, headers={"User-Agent": _AGENT, **plan.headers})
        response = connection.getresponse()
        location = response.getheader("location", "")
    except (OSError, HTTPException) as error:
        return redact(str(error)) or type(error).__name__
    finally:
        connection.close()
    if 200 <= response.status < 300:
        return ""
    leads = f", to {redact(urlsplit(location).netloc or location)}" if location else ""
    return f"status {response.status}{leads}"
