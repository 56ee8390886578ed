"""Paths folded into routes: what differs from one thing to the next is left out of them.

The number of routes is bounded whatever visitors ask for: a place with too many different words is
folded as well (names of users), and beyond :data:`MAXIMUM_ROUTES` the rest is one route.
"""

import re
from dataclasses import dataclass, field

from maintenance.web.latency_histogram import empty_counts

#: More different words at one place of a path are names of things. Pages at the top of a site are
#: made by people, and more of them are worth a line of their own.
MAXIMUM_WORDS = 60
MAXIMUM_TOP_WORDS = 200
#: Of the words at such a place only those stay that this share of its requests go to.
KEPT_WORD_RATIO = 0.05
MAXIMUM_ROUTES = 1_500
MAXIMUM_SEGMENTS = 8
#: No word of a route is as long: it is a token, a title or an attack.
MAXIMUM_WORD_LENGTH = 40

OTHER_ROUTES = "(other routes)"
NOT_A_PATH = "(no path)"
NOT_FOUND = "(not found)"

_KINDS = {
    "{id}": re.compile(r"[0-9]+"),
    "{uuid}": re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE),
    "{hash}": re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{16,}", re.IGNORECASE),
    "{slug}": re.compile(rf".{{{MAXIMUM_WORD_LENGTH + 1},}}", re.DOTALL),
}
#: v1, v12, oauth2, utf8, mp3: part of the site's own language.
_VERSIONED_WORD = re.compile(r"v[0-9]{1,3}|[a-z]{2,12}[0-9]", re.IGNORECASE)
_DIGIT = re.compile(r"[0-9]")
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,9}$")


@dataclass(slots=True, eq=False)
class RouteCounts:
    """What was counted of a route. ``statuses`` by the three digits; latencies as a histogram.

    Once it was merged into another one, ``merged_into`` says which.
    """

    latencies: list[int] = field(default_factory=empty_counts)
    statuses: dict[bytes, int] = field(default_factory=dict)
    sent_bytes: int = 0
    merged_into: "RouteCounts | None" = None

    @property
    def requests(self) -> int:
        """All requests, with and without a time."""
        return sum(self.statuses.values())

    def of_class(self, digit: bytes) -> int:
        """Requests whose status begins with ``digit``."""
        return sum(n for status, n in self.statuses.items() if status[:1] == digit)

    def current(self) -> "RouteCounts":
        """Return what this one is part of by now."""
        found = self
        while found.merged_into is not None:
            found = found.merged_into
        return found

    def take_in(self, other: "RouteCounts") -> None:
        """Add what was counted of another one, which is part of this from now on."""
        other.merged_into = self
        self.add(other)

    def add(self, other: "RouteCounts") -> None:
        """Add what was counted of another one."""
        self.latencies = [a + b for a, b in zip(self.latencies, other.latencies, strict=True)]
        for status, n in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + n
        self.sent_bytes += other.sent_bytes


def folded_word(word: str) -> str:
    """Return a word of a path, or what stands for words of its kind."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(word):
            return kind
    if not _DIGIT.search(word) or _VERSIONED_WORD.fullmatch(word):
        return word
    ending = _ENDING.search(word)
    if ending is None:
        return "{slug}"
    stem = word[: ending.start()]
    kept = not _DIGIT.search(stem) or _VERSIONED_WORD.fullmatch(stem)
    return word if kept else "{slug}" + ending[0]


@dataclass(slots=True, eq=False)
class _Place:
    """A place in the tree of paths; ``counts`` where a path ends here."""

    places: dict[str, "_Place"] = field(default_factory=dict)
    counts: RouteCounts | None = None
    is_folded: bool = False

    def requests(self) -> int:
        own = self.counts.requests if self.counts else 0
        return own + sum(place.requests() for place in self.places.values())

    def take_in(self, other: "_Place") -> None:
        if other.counts is not None:
            if self.counts is None:
                self.counts = other.counts
            else:
                self.counts.take_in(other.counts)
        for word, place in other.places.items():
            self.places.setdefault(word, _Place()).take_in(place)


class Routes:
    """The routes of a log, found path by path."""

    def __init__(self) -> None:
        self._root = _Place()
        self._special: dict[str, RouteCounts] = {}
        self._known = 0
        #: Raised whenever routes were merged: who kept one must ask for it again.
        self.generation = 0

    def special(self, name: str) -> RouteCounts:
        """Return the counts of what has no route of its own."""
        return self._special.setdefault(name, RouteCounts())

    def of(self, path: bytes) -> RouteCounts:
        """Return the counts of the route of a path (no query)."""
        words = words_of(path)
        if words is None:
            return self.special(NOT_A_PATH)
        place = self._root
        for depth, word in enumerate(words):
            found = place.places.get(word)
            if found is None:
                if self._known >= MAXIMUM_ROUTES and "{name}" not in place.places:
                    return self.special(OTHER_ROUTES)
                found = self._new_place(place, word, depth)
            place = found
        if place.counts is None:
            if self._known >= MAXIMUM_ROUTES:
                return self.special(OTHER_ROUTES)
            self._known += 1
            place.counts = RouteCounts()
        return place.counts

    def _new_place(self, parent: _Place, word: str, depth: int) -> _Place:
        if parent.is_folded:
            return parent.places.setdefault("{name}", _Place())
        if len(parent.places) >= (MAXIMUM_WORDS if depth else MAXIMUM_TOP_WORDS):
            self._fold(parent)
            return parent.places["{name}"]
        return parent.places.setdefault(word, _Place())

    def _fold(self, parent: _Place) -> None:
        limit = parent.requests() * KEPT_WORD_RATIO
        folded = _Place()
        kept: dict[str, _Place] = {"{name}": folded}
        for word, place in parent.places.items():
            if place.requests() >= limit or word.startswith("{"):
                kept[word] = place
            else:
                folded.take_in(place)
        parent.places = kept
        parent.is_folded = True
        self.generation += 1
        self._known = sum(1 for _ in self._walk(self._root, ""))

    def found(self) -> dict[str, RouteCounts]:
        """Return all routes with at least one request, by name."""
        walked = {**dict(self._walk(self._root, "")), **self._special}
        return {name: counts for name, counts in walked.items() if counts.statuses}

    def _walk(self, place: _Place, path: str) -> "list[tuple[str, RouteCounts]]":
        here = [(path or "/", place.counts)] if place.counts is not None else []
        for word, below in place.places.items():
            here += self._walk(below, f"{path}/{word}" if word else f"{path}/")
        return here


def words_of(path: bytes) -> list[str] | None:
    """Return the folded words of a path; ``None`` for what is no path (``*``, ``host:443``).

    The scheme and host of a proxy's request are left out. A slash at the end counts.
    """
    text = path.decode("utf-8", "backslashreplace")
    if text.startswith(("http://", "https://")):
        text = "/" + text.split("/", 3)[3] if text.count("/") > 2 else "/"
    if not text.startswith("/"):
        return None
    words = text.split("/")[1:]
    if words == [""]:
        return []
    if len(words) > MAXIMUM_SEGMENTS:
        words = [*words[: MAXIMUM_SEGMENTS - 1], "{rest}"]
    return [folded_word(word) for word in words]
