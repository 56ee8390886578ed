"""What the performance log says, added up by line of code and statement, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maintenance.web.relations import Lookup, Relation

#: Lines of code and statements that are told apart in one review: some 10 MB.
MAXIMUM_GROUPS = 10_000
#: Requests and tasks that are named of each.
NAMES = 5


@dataclass(slots=True)
class LoggedGroup:
    """Calls of one statement from one line of code.

    ``profiles`` are logged requests and tasks in which it was, ``calls`` and ``milliseconds`` what
    they did; of those that repeated it, the counts stand apart. ``saved_calls`` and
    ``saved_milliseconds`` are what one query in place of the repeated ones would spare, with those
    requests that were not sampled.
    """

    digest: str
    statement: str
    command: str
    model: str
    table: str
    database: str
    at: str
    hint: str
    lookup: Lookup | None = None
    sources: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    heavy_fields: tuple[str, ...] = ()
    profiles: int = 0
    repeated_profiles: int = 0
    calls: int = 0
    repeated_calls: int = 0
    milliseconds: float = 0.0
    repeated_milliseconds: float = 0.0
    most_calls: int = 0
    most_rows: int = 0
    slowest_ms: float = 0.0
    saved_calls: float = 0.0
    saved_milliseconds: float = 0.0

    @property
    def source(self) -> str:
        """The line whose query mostly brought the objects, empty where none is known."""
        return max(self.sources, key=lambda line: (self.sources[line], line), default="")


class ProfileTally:
    """Everything that the review needs of the log."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], LoggedGroup] = {}
        self.profiles = 0
        self.malformed = 0
        self.left_out_groups = 0
        self.left_out_lines = 0
        self.queries = 0
        self.query_milliseconds = 0.0
        self.first_at = ""
        self.last_at = ""

    def add(self, profile: Mapping[str, Any]) -> None:
        """Count one line; one that has other fields than ours counts as malformed."""
        try:
            weight = 1 / min(1.0, max(1e-6, float(profile["sample_ratio"])))
            name = _text(profile["name"], 200)
            queries, milliseconds = int(profile["queries"]), float(profile["query_ms"])
            at, lines = _text(profile["at"], 40), int(profile["lines_left_out"])
            groups = [
                self._counted(body, name, weight)
                for body in profile["groups"]
                if isinstance(body, dict)
            ]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            self.malformed += 1
            return
        self.left_out_groups += sum(found is None for found in groups)
        self.left_out_groups += int(profile.get("groups_left_out") or 0)
        self.left_out_lines += lines
        self.profiles += 1
        self.queries += queries
        self.query_milliseconds += milliseconds
        self.first_at = min(self.first_at or at, at)
        self.last_at = max(self.last_at, at)

    def _counted(self, body: Mapping[str, Any], name: str, weight: float) -> LoggedGroup | None:
        """Add one group of a line; ``None`` where there is no room for another one."""
        calls, milliseconds = int(body["calls"]), float(body["ms"])
        key = (_text(body["digest"], 40), _text(body["at"], 300))
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= MAXIMUM_GROUPS:
                return None
            group = self.groups[key] = LoggedGroup(
                digest=key[0],
                at=key[1],
                statement=_text(body["statement"], 1000),
                command=_text(body["command"], 20),
                model=_text(body["model"], 200),
                table=_text(body["table"], 200),
                database=_text(body["database"], 200),
                hint=_text(body.get("hint", ""), 50),
            )
        heavy = body.get("heavy_fields", [])
        group.heavy_fields = tuple(_text(name, 100) for name in heavy[:NAMES]) or group.heavy_fields
        group.profiles += 1
        group.calls += calls
        group.milliseconds += milliseconds
        group.most_calls = max(group.most_calls, calls)
        group.most_rows = max(group.most_rows, int(body["most_rows"]))
        group.slowest_ms = max(group.slowest_ms, float(body["slowest_ms"]))
        _remember(group.names, name)
        if body["is_repeated"]:
            self._add_repeated(group, body, calls, milliseconds, weight)
        return group

    @staticmethod
    def _add_repeated(
        group: LoggedGroup, body: Mapping[str, Any], calls: int, milliseconds: float, weight: float
    ) -> None:
        lookup = body.get("lookup")
        if isinstance(lookup, dict):
            group.lookup = Lookup(
                relation=Relation(lookup["relation"]),
                model=_text(lookup["model"], 200),
                field=_text(lookup["field"], 200),
                table=_text(lookup["table"], 200),
                is_filtered=bool(lookup["is_filtered"]),
            )
        if body.get("from"):
            _remember(group.sources, _text(body["from"], 300))
        group.repeated_profiles += 1
        group.repeated_calls += calls
        group.repeated_milliseconds += milliseconds
        # Whatever replaces them asks once: a join not at all, a prefetch or a bulk operation once.
        spared = (calls - 1) * weight
        group.saved_calls += spared
        group.saved_milliseconds += spared * milliseconds / calls


def _text(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value[:limit]


def _remember(counts: dict[str, int], name: str) -> None:
    if name in counts or len(counts) < NAMES:
        counts[name] = counts.get(name, 0) + 1
