"""What is written of a profile: one JSON object in one line, without any value of the site.

Version 1 has, beside counts and times of the whole request or task, its ``groups``: calls of one
normalised statement from one line of code, the repeated ones first, then the slowest. ``at`` is that
line; ``lookup`` names the relation that was followed; ``from`` is the line whose query brought the
objects that it was followed from.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import Any

from maintenance.web.call_sites import CallSite, shown_file
from maintenance.web.lookups import heavy_columns, label_of_table
from maintenance.web.profile import QueryProfile
from maintenance.web.profiling_settings import ProfilingSettings
from maintenance.web.relations import Lookup, Relation
from maintenance.web.source_hints import hint_of
from maintenance.web.statements import command_of, digest_of, main_table, shape, shown

VERSION = 1

#: Groups in a line, and bytes of it: several processes append to one file, and what a process writes
#: at once (Python's buffer has 8192 bytes) is not mixed with what another one writes.
MAXIMUM_GROUPS = 20
MAXIMUM_BYTES = 8000

#: Rows at once from which long texts in them are worth a word, and fields that are named.
HEAVY_ROWS = 500
MAXIMUM_FIELDS = 5


@dataclass(slots=True)
class MergedGroup:
    """Calls of statements of one shape from one line. Times are seconds."""

    shape: str
    site: CallSite
    alias: str
    calls: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    rows: int = 0
    most_rows: int = 0
    lookup: Lookup | None = None

    @property
    def table(self) -> str:
        """The first table of the statement."""
        return main_table(self.shape)


def merged(profile: QueryProfile) -> list[MergedGroup]:
    """Put together what differs in literals and lengths of lists alone, costliest first."""
    groups: dict[tuple[str, CallSite], MergedGroup] = {}
    for (text, file, line), group in profile.groups.items():
        key = shape(text), (file, line)
        into = groups.get(key)
        if into is None:
            into = groups[key] = MergedGroup(*key, group.alias)
        into.calls += group.calls
        into.seconds += group.seconds
        into.slowest_seconds = max(into.slowest_seconds, group.slowest_seconds)
        into.rows += group.rows
        into.most_rows = max(into.most_rows, group.most_rows)
        into.lookup = into.lookup or group.lookup
    return sorted(groups.values(), key=lambda g: -g.seconds)


def is_worth_a_line(profile: QueryProfile, rules: ProfilingSettings) -> bool:
    """Tell whether a profile reaches a threshold; cheap, as it is asked after every request."""
    if profile.calls >= rules.count_threshold or profile.seconds * 1000 >= rules.threshold_ms:
        return True
    calls_by_site: dict[tuple[str, int], int] = {}
    for (_text, file, line), group in profile.groups.items():
        calls = calls_by_site.get((file, line), 0) + group.calls
        # Different statements of one line are counted together here: a line too many is harmless.
        if calls >= rules.repeats or group.most_rows >= rules.large_rows:
            return True
        calls_by_site[file, line] = calls
    return False


def line_of(
    profile: QueryProfile, rules: ProfilingSettings, facts: Mapping[str, Any], lines_left_out: int
) -> str:
    """Return the line. ``facts`` say what was profiled; they must have JSON values."""
    groups = merged(profile)
    groups.sort(key=lambda g: (g.calls < rules.repeats, -g.seconds))
    body: dict[str, Any] = {
        "event": "query-profile",
        "version": VERSION,
        "at": datetime.now(UTC).isoformat(timespec="microseconds"),
        **facts,
        "took_ms": _ms(perf_counter() - profile.started_at),
        "queries": profile.calls,
        "query_ms": _ms(profile.seconds),
        "savepoints": profile.savepoints,
        "failures": profile.failures,
        "uncounted": profile.uncounted,
        "sample_ratio": rules.sample_ratio,
        "lines_left_out": lines_left_out,
    }
    shown_groups = [_group(group, groups, rules) for group in groups[:MAXIMUM_GROUPS]]
    while True:
        body["groups_left_out"] = len(groups) - len(shown_groups) + profile.left_out
        text = f'{json.dumps(body)[:-1]}, "groups": [{", ".join(shown_groups)}]}}'
        if len(text) < MAXIMUM_BYTES or not shown_groups:
            return text
        shown_groups.pop()


def _group(group: MergedGroup, all_groups: Iterable[MergedGroup], rules: ProfilingSettings) -> str:
    """Return a group as JSON, put together of what is known as such: encoding it all costs most."""
    is_repeated = group.calls >= rules.repeats
    text = (
        f"{_unchanging(group.shape, group.site, group.alias)[:-1]}"
        f', "calls": {group.calls}, "ms": {group.seconds * 1000:.3f}'
        f', "slowest_ms": {group.slowest_seconds * 1000:.3f}, "rows": {group.rows}'
        f', "most_rows": {group.most_rows}, "is_repeated": {"true" if is_repeated else "false"}}}'
    )
    rest: dict[str, Any] = {}
    if is_repeated and group.lookup is not None:
        rest["lookup"] = group.lookup.to_json()
        source = _source_of(group, all_groups)
        if source is not None:
            rest["from"] = in_words(source.site)
    if group.most_rows >= HEAVY_ROWS and command_of(group.shape) == "SELECT":
        selected = group.shape.partition(" FROM ")[0]
        heavy = [name for name, column in heavy_columns(group.table) if column in selected]
        if heavy:
            rest["heavy_fields"] = heavy[:MAXIMUM_FIELDS]
    return f"{text[:-1]}, {json.dumps(rest)[1:]}" if rest else text


@lru_cache(maxsize=512)
def _unchanging(shaped: str, site: CallSite, alias: str) -> str:
    """Return as JSON what a statement and a line are each time: most of the text, 1 kB at the most."""
    table = main_table(shaped)
    found = {
        "statement": shown(shaped),
        "digest": digest_of(shaped),
        "command": command_of(shaped),
        "table": table,
        "model": label_of_table(table),
        "database": alias,
        "at": in_words(site),
    }
    hint = hint_of(shaped, site)
    if hint:
        found["hint"] = hint
    return json.dumps(found)


def _source_of(group: MergedGroup, all_groups: Iterable[MergedGroup]) -> MergedGroup | None:
    """Return whose query brought the objects from which a relation was followed, if one is likely.

    It is the query of their table that brought most rows, not this one itself.
    """
    lookup = group.lookup
    if lookup is None or lookup.relation in {Relation.SAVE, Relation.DELETE}:
        return None
    candidates = [
        other
        for other in all_groups
        if other is not group
        and other.most_rows > 1
        and other.table == lookup.table
        and command_of(other.shape) == "SELECT"
    ]
    return max(candidates, key=lambda g: g.most_rows, default=None)


def in_words(site: CallSite) -> str:
    """Return ``library/views.py:31``, empty where no line of the application is known."""
    file, line = site
    return f"{shown_file(file)}:{line}" if line else ""


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
