"""How the admin's pages write names, moments and durations."""

from datetime import datetime, timedelta, tzinfo

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from maintenance.core.registry import PREFIX
from maintenance.reports.formatting import NO_VALUE, format_seconds


def task_words(name: str) -> str:
    """Return a task's name as a phrase: ``maintenance.trim_streams`` is ``Trim streams``."""
    return name.removeprefix(PREFIX).replace("_", " ").capitalize()


def moment(when: datetime | None, zone: tzinfo | None = None) -> SafeString | str:
    """Return a moment in ``zone`` (the site's where none is given), readable by machines, too."""
    if when is None:
        return NO_VALUE
    local = timezone.localtime(when, zone)
    return format_html(
        '<time datetime="{}">{}</time>', local.isoformat(), formats.date_format(local, "j M Y, H:i")
    )


def relative(when: datetime, now: datetime) -> str:
    """Return how far off a moment is in its largest unit: ``in 3 hours``, ``2 days ago``, ``now``."""
    distance = when - now
    if abs(distance) < timedelta(minutes=1):
        return _("now")
    if distance > timedelta(0):
        return _("in %(time)s") % {"time": timeuntil(when, now, depth=1)}
    return _("%(time)s ago") % {"time": timesince(when, now, depth=1)}


def length(duration: timedelta | None) -> str:
    """Return a duration in words; a dash where there is none."""
    return NO_VALUE if duration is None else format_seconds(duration.total_seconds())
