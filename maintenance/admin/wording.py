"""How the admin's pages write names, moments and durations."""

import re
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from maintenance.conf import Dangerous
from maintenance.core.runs.registry import PREFIX
from maintenance.models import Run
from maintenance.reports.formatting import NO_VALUE, format_seconds

#: Parts of task names that are written otherwise in a sentence.
_SPELLINGS = {"redis": "Redis", "n plus one": "N+1", "cpu": "CPU"}


@lru_cache(maxsize=1024)  # asked for each line of a page
def task_words(name: str) -> str:
    """Return a task's name as a phrase: ``maintenance.trim_streams`` is ``Trim streams``.

    The name of a task of the site itself stays as it is.
    """
    own = name.removeprefix(PREFIX)
    if "." in own:  # a task of the site's own, which is known by its path
        return own
    words = own.replace("_", " ").capitalize()
    for written, spelled in _SPELLINGS.items():
        words = re.sub(rf"\b{written}\b", spelled, words)
    return words


def danger_words(kind: Dangerous | None) -> str:
    """Return what a person must have understood before such a task runs for real; empty for none."""
    if kind is None:
        return ""
    words: dict[Dangerous, str] = {
        "reindex": _(
            "It builds indexes anew: each needs disk space for a second copy until it is done,"
            " writes as much WAL, and waits for the transactions that are open meanwhile."
        ),
        "vacuum_full": _(
            "It rewrites tables: nobody can read or write a table until its rewrite is done, and"
            " each needs disk space for a second copy."
        ),
        "alter_table": _(
            "It changes settings of tables, which stay changed until somebody undoes it; the"
            " report has the commands for that."
        ),
        "flush_cache": _(
            "It removes every value of the cache: visitors wait until pages are computed anew, and"
            " the database gets the load that the cache kept from it."
        ),
        "reclaim_memory": _(
            "It writes keys of a Redis server anew, and removes or expires the keys that the"
            " target's rules name: what is removed cannot be brought back."
        ),
        "remove_streams": _(
            "It removes streams of owners who are gone, with all that belongs to them. This cannot"
            " be undone."
        ),
        "rewrite_images": _(
            "It replaces images by smaller ones, with a loss of size and quality. Unless the target"
            " keeps originals, this cannot be undone."
        ),
        "remove_media": _("It deletes media files that no row names. This cannot be undone."),
        "load_test": _(
            "It asks a site for its pages again and again: its visitors wait longer meanwhile, and a"
            " site that does not bear it can stop answering."
        ),
    }
    return words[kind]


def on_target(words: str, target: str) -> SafeString | str:
    """Return the first line of a list's row, with the target in a quieter one under it."""
    if not target:
        return words
    return above(words, _("on %(target)s") % {"target": target})


def above(first: str, under: str) -> SafeString:
    """Return what a cell says first, with a quieter line under it."""
    return format_html('{}<span class="maintenance-under">{}</span>', first, under)


def named(name: str, value: SafeString | str) -> SafeString | str:
    """Return a value under its name, which is seen where there is no room for a table's head.

    Nothing has no name either.
    """
    if not value:
        return ""
    return format_html('<span class="maintenance-narrow">{}</span>{}', name, value)


def shortened(text: str, most: int) -> str:
    """Return a text of ``most`` characters at the most, cut between two words."""
    if len(text) <= most:
        return text
    cut = text[: most - 1].rpartition(" ")[0] or text[: most - 2]
    return f"{cut.rstrip(' ,;:(')} …"


def asked_by(run: Run) -> str:
    """Return who or what asked for a run: ``ann, admin``, ``schedule, daily``."""
    return ", ".join(
        filter(None, (run.actor, run.get_trigger_display(), run.checklist if not run.actor else ""))
    )


def moment(when: datetime | None, zone: tzinfo | None = None) -> SafeString | str:
    """Return a moment in ``zone`` (the site's where none is given), as the reports write it."""
    if when is None:
        return NO_VALUE
    local = timezone.localtime(when, zone)
    return format_html(
        '<time datetime="{}">{}</time>', local.isoformat(), local.strftime("%Y-%m-%d %H:%M")
    )


def relative(when: datetime, now: datetime) -> str:
    """Return how far off a moment is in its largest unit: ``in 3 hours``, ``2 days ago``, ``just now``."""
    distance = when - now
    if abs(distance) < timedelta(minutes=1):
        return _("now") if distance > timedelta(0) else _("just now")
    if distance > timedelta(0):
        return _("in %(time)s") % {"time": timeuntil(when, now, depth=1)}
    return _("%(time)s ago") % {"time": timesince(when, now, depth=1)}


def length(duration: timedelta | None) -> str:
    """Return a duration in words; a dash where there is none."""
    return NO_VALUE if duration is None else format_seconds(duration.total_seconds())
