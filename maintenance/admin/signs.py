"""Words with a sign: a state is never told by its colour alone."""

from functools import cache

from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from maintenance.models import RunState, SeverityChoice


def badge(kind: str, word: str | Promise) -> SafeString:
    """Return the sign of ``kind`` with ``word`` beside it.

    ``kind`` is a severity, the state of a run, ``unavailable``, ``on``, ``paused`` or ``off``.
    """
    return format_html(
        '<span class="maintenance-badge maintenance-is-{}">{} {}</span>', kind, sign(kind), word
    )


@cache
def sign(kind: str) -> SafeString:
    """Return the sign of ``kind`` alone, for where the word stands elsewhere. It has no words itself."""
    return render_to_string("admin/maintenance/sign.html", {"kind": kind})


def state_badge(state: str) -> SafeString:
    """Return the badge of a run's state."""
    return badge(state, RunState(state).label)


def severity_badge(severity: str, *, measured: bool = True) -> SafeString:
    """Return the badge of a finding; what could not be measured is ``unavailable``."""
    if not measured:
        return badge("unavailable", _("unavailable"))
    return badge(severity, SeverityChoice(severity).label)


def outcome(state: str, severity: str) -> str:
    """Return the kind of a run as a whole: its worst finding if it succeeded, else its state."""
    return severity if state == "succeeded" and severity else state


def outcome_word(kind: str) -> str:
    """Return the word of what :func:`outcome` returns."""
    if kind in SeverityChoice.values:
        return str(SeverityChoice(kind).label)
    return str(RunState(kind).label)
