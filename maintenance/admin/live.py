"""What the pages' script keeps fresh: the parts of a page that change while runs are at work."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from maintenance.admin.rights import may_cancel
from maintenance.admin.run_page import phase_of_state, progress_context
from maintenance.admin.signs import severity_badge, sign, state_badge
from maintenance.admin.wording import length, shortened, task_words
from maintenance.core.attention.standings import RUNS_THAT_LOOKED
from maintenance.models import Run, RunState
from maintenance.people import User

#: Runs that one request asks for: more than a page of the list shows.
MOST_ASKED = 100

_SUMMARY_CHARACTERS = 140


def asked_runs(ids: Sequence[str]) -> list[Run]:
    """Return the runs of these ids, of the first hundred of them; unreadable ones count as none."""
    wanted = []
    for text in ids[:MOST_ASKED]:
        try:
            wanted.append(uuid.UUID(text))
        except ValueError:
            continue
    return list(Run.objects.filter(id__in=wanted).defer("options", "failures"))


def list_answer(runs: Sequence[Run], user: User) -> dict[str, Any]:
    """Return the cells of rows of the list, and who has ended since they were shown."""
    ended = [_ended(run) for run in runs if run.is_finished]
    return {
        "runs": {
            str(run.id): {
                "finished": run.is_finished,
                "parts": _as_markup(
                    state=state_badge(run.state),
                    sign=sign(run.state),
                    cancel=cancel_link(run, may=may_cancel(user, run)),
                    worst=worst_finding(run),
                    summary=summary(run),
                    took=took(run),
                ),
            }
            for run in runs
        },
        "announcement": " ".join(ended),
    }


def page_answer(run: Run) -> dict[str, Any]:
    """Return how far the run of a page is."""
    known = {} if run.is_finished else _as_markup(progress=progress(run))
    return {
        "runs": {str(run.id): {"finished": run.is_finished, "parts": known}},
        "announcement": ""
        if run.is_finished
        else strip_tags(str(run.phase or phase_of_state(run))),
    }


def _as_markup(**parts: SafeString | str) -> dict[str, str]:
    """Return parts as the script puts them into the page: as markup, so that plain text is escaped here."""
    return {name: conditional_escape(content) for name, content in parts.items()}


def part(run: Run, name: str, content: SafeString | str) -> SafeString | str:
    """Return ``content`` as a part that the script keeps fresh; as it is once the run has ended."""
    if run.is_finished:
        return content
    return format_html(
        '<span class="maintenance-part" data-live-run="{}" data-live-part="{}">{}</span>',
        run.id,
        name,
        content,
    )


def progress(run: Run) -> SafeString:
    """Return how far a run is: state, phase, bar, amount, rate and time left."""
    return render_to_string("admin/maintenance/run/progress.html", progress_context(run))


def worst_finding(run: Run) -> SafeString | str:
    """Return the worst severity among the findings of a run that has looked."""
    looked = run.state in RUNS_THAT_LOOKED and run.severity
    return severity_badge(run.severity) if looked else ""


def summary(run: Run) -> SafeString | str:
    """Return the verdict, cut so that a row stays low; before it, how far the run is."""
    if run.state == RunState.RUNNING:
        return render_to_string("admin/maintenance/run/row_progress.html", progress_context(run))
    if not run.is_finished:
        return phase_of_state(run)
    return shortened(run.summary, _SUMMARY_CHARACTERS)


def took(run: Run) -> SafeString | str:
    """Return the duration; of a running run, how long it has been at work."""
    if run.state == RunState.RUNNING and run.started_at:
        return format_html(
            '{}<span class="maintenance-under">{}</span>',
            length(timezone.now() - run.started_at),
            _("so far"),
        )
    return length(run.duration) if run.is_finished else ""


def cancel_link(run: Run, *, may: bool) -> SafeString:
    """Return the way to cancel a run, that it is on its way, or nothing."""
    return render_to_string(
        "admin/maintenance/run/cancel_link.html",
        {"run": run, "may_cancel": may, "task": task_words(run.task)},
    )


def _ended(run: Run) -> str:
    facts = {"task": task_words(run.task), "target": run.target, "state": run.get_state_display()}
    if run.target:
        return _("%(task)s on %(target)s has ended: %(state)s.") % facts
    return _("%(task)s has ended: %(state)s.") % facts
