"""Messages in words: alarms and their end, summaries and tests. Digests are in :mod:`.digest`."""

from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from maintenance.core.findings import Severity
from maintenance.core.wording import counted, seconds_in_words
from maintenance.models import Alarm, Notification, NotificationKind
from maintenance.notifications.links import (
    link_to_dashboard,
    link_to_finding,
    link_to_findings,
    link_to_run,
)
from maintenance.notifications.message import Message
from maintenance.notifications.tones import tone_of
from maintenance.reports.columns import visible
from maintenance.reports.formatting import format_time

#: Lines of a summary; the rest are counted.
MOST_LINES = 40


def message_of(waiting: Notification) -> Message:
    """Return a message as it is to leave now."""
    if waiting.kind == NotificationKind.DIGEST:
        return Message.from_json(waiting.content)
    return _WORDS[NotificationKind(waiting.kind)](waiting)


def _said(subject: str, template: str, context: dict[str, Any]) -> Message:
    """Render both parts. ``context`` holds plain text; the template engine escapes it for HTML."""
    text = render_to_string(f"maintenance/mail/{template}.txt", context)
    html = render_to_string(f"maintenance/mail/{template}.html", {**context, "title": subject})
    return Message(subject, text.strip() + "\n", html)


def _alarm(waiting: Notification) -> Message:
    alarm = waiting.alarm
    assert alarm is not None
    return _said(
        waiting.title,
        "alarm",
        {
            **_facts(alarm),
            "is_over": False,
            "tone": tone_of(alarm.severity),
            "word": alarm.severity,
        },
    )


def _resolved(waiting: Notification) -> Message:
    alarm = waiting.alarm
    assert alarm is not None
    assert alarm.resolved_at is not None
    lasted = seconds_in_words((alarm.resolved_at - alarm.raised_at).total_seconds())
    return _said(
        waiting.title,
        "alarm",
        {
            **_facts(alarm),
            "is_over": True,
            "tone": tone_of(Severity.OK),
            "word": "resolved",
            "resolution": visible(alarm.resolution),
            "lasted": lasted,
        },
    )


def _facts(alarm: Alarm) -> dict[str, Any]:
    since = format_time(timezone.localtime(alarm.raised_at))
    named = (
        ("target", alarm.target),
        ("subject", alarm.subject if alarm.subject != alarm.target else ""),
        ("kind", alarm.code),
        ("found by", alarm.task.removeprefix("maintenance.") or "a look at the ledger"),
        ("since", since),
    )
    link = link_to_finding(alarm.run_id, alarm.fingerprint) or link_to_dashboard()
    return {
        "sentence": visible(alarm.sentence),
        "advice": visible(alarm.advice),
        "facts": [(name, visible(value)) for name, value in named if value],
        "link": link,
        "run_link": link_to_run(alarm.run_id),
    }


def _summary(waiting: Notification) -> Message:
    lines = waiting.content["lines"]
    listed = [
        {
            **line,
            "word": "resolved" if line["kind"] == NotificationKind.RESOLVED else line["severity"],
            "sentence": visible(line["sentence"]),
            "tone": tone_of(
                "ok" if line["kind"] == NotificationKind.RESOLVED else line["severity"]
            ),
            "link": link_to_finding(line["run_id"], line["fingerprint"]),
        }
        for line in lines[:MOST_LINES]
    ]
    context = {
        "lines": listed,
        "rest": max(len(lines) - MOST_LINES, 0),
        "count": counted(len(lines), "message was", "messages were"),
        "link": link_to_findings(),
    }
    return _said(waiting.title, "summary", context)


def _test(waiting: Notification) -> Message:
    context = {
        "by": visible(waiting.content["by"]),
        "channel": waiting.channel,
        "at": format_time(timezone.localtime(waiting.created_at)),
        "link": link_to_dashboard(),
    }
    return _said(waiting.title, "test", context)


_WORDS = {
    NotificationKind.ALARM: _alarm,
    NotificationKind.RESOLVED: _resolved,
    NotificationKind.SUMMARY: _summary,
    NotificationKind.TEST: _test,
}
