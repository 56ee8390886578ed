"""A digest in words, as HTML and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.template.loader import render_to_string

from maintenance.notifications.digest import MOST_ENTRIES, Digest, Entry
from maintenance.notifications.links import link_to_dashboard, link_to_findings
from maintenance.notifications.message import Message
from maintenance.notifications.tones import tone_of


def digest_message(digest: Digest, pictures: Mapping[str, bytes]) -> Message:
    """Return the digest as a message."""
    context = {
        "title": digest.subject,
        "digest": digest,
        "word": "not known" if digest.severity == "unavailable" else digest.severity,
        "tone": tone_of(digest.severity),
        "parts": [
            part
            for part in (
                _part("New", digest.new),
                _part("Still there", digest.old),
            )
            if part["entries"]
        ],
        "gone": digest.gone[:MOST_ENTRIES],
        "gone_rest": max(len(digest.gone) - MOST_ENTRIES, 0),
        "gaps": digest.gaps[:MOST_ENTRIES],
        "gaps_rest": max(len(digest.gaps) - MOST_ENTRIES, 0),
        "link": link_to_dashboard(),
        "findings_link": link_to_findings(),
    }
    text = render_to_string("maintenance/mail/digest.txt", context)
    html = render_to_string("maintenance/mail/digest.html", context)
    return Message(digest.subject, text.strip() + "\n", html, pictures)


def _part(title: str, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "title": title,
        "entries": [
            {"entry": entry, "tone": tone_of(entry.severity), "others": entry.alike - 1}
            for entry in entries[:MOST_ENTRIES]
        ],
        "rest": sum(entry.alike for entry in entries[MOST_ENTRIES:]),
    }
