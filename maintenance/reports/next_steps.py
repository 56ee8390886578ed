"""What a reader does next: what an operator can do now, and what a developer has to be asked for.

A change of the site's code is a developer's, whatever the operator's rights are. So is it told which
kinds of finding end in one; all others end in a command, a setting, or a purchase.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maintenance.reports.content import FindingContent

#: Kinds of finding whose remedy is a change of the site's code, models, templates or tests.
FOR_DEVELOPERS = frozenset(
    {
        # Queries and the code that asks them.
        "count-for-existence",
        "deadlocks",
        "deadlocks-logged",
        "deferred-field",
        "heavy-fields",
        "large-result",
        "n-plus-one",
        "query-load",
        "query-new",
        "query-slower",
        "sequential-scans",
        "slow-query",
        "slow-statement-logged",
        "writes-in-loop",
        # Models.
        "key-near-end",
        "missing-foreign-key",
        "narrow-foreign-key",
        "sequence-near-end",
        # What a site keeps in its cache and in Redis.
        "cache-key-of-wrong-type",
        "cache-prefix-hit-ratio",
        "cache-prefix-hit-ratio-fell",
        "cache-strategy",
        "redis-big-keys",
        "redis-hot-keys",
        "redis-keys-without-ttl",
        "redis-slow-commands",
        "stale-cache-keys",
        "warmed-page-varies",
        "warmed-values-refused",
        "warmer-failed",
        # Pages.
        "compressor-off",
        "load-test-errors",
        "load-test-slow-page",
        "load-test-slower",
        "route-server-errors",
        "route-slower",
        "server-error-burst",
        "slow-route",
        "static-mixed-content",
        "static-names-without-hash",
        # How Django speaks to PgBouncer.
        "pgbouncer-prepared-statements",
        "pgbouncer-server-side-cursors",
        "pgbouncer-session-feature",
    }
)

#: Steps of one list, and subjects of one step; the findings below name all.
STEPS_SHOWN = 7
SUBJECTS_SHOWN = 3

#: How the text of a migration begins: see ``postgres.indexes.migrations``.
_MIGRATION = "# python manage.py makemigrations"

_SENTENCE = re.compile(r".{20,}?(?<!\.)[.!?](?=\s|$)")
_CLAUSE = re.compile(r".{20,}?(?=[:;]\s)")
_SHORT_ADVICE, _LONGEST_ADVICE = 160, 240


class Whose(StrEnum):
    """Who takes a step. The value is the heading of the list."""

    OPERATOR = "You can do now"
    DEVELOPER = "Ask a developer"


@dataclass(frozen=True, slots=True)
class Place:
    """A subject and the anchor of its finding."""

    subject: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, for all subjects that it has to be done for; ``more`` counts the unnamed.

    ``kind`` is the code of the findings in words: a subject may have several.
    """

    label: str
    sign: str
    kind: str
    places: tuple[Place, ...]
    more: int
    advice: str
    has_commands: bool

    @property
    def words(self) -> str:
        """The step in a line: ``a, b, c and 2 more (table bloat): Rewrite it.``"""
        named = ", ".join(place.subject for place in self.places)
        named += f" and {self.more} more" if self.more else ""
        named += f" ({self.kind})" if self.kind else ""
        return f"{named}: {self.advice}" if self.advice else named


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one person, the most urgent first; ``more`` counts what stands below only."""

    title: str
    steps: tuple[Step, ...]
    more: int


def whose_step(code: str, commands: Iterable[str]) -> Whose:
    """Return who has to act on a finding of this kind; a migration to write is a developer's."""
    is_code = code in FOR_DEVELOPERS or any(c.startswith(_MIGRATION) for c in commands)
    return Whose.DEVELOPER if is_code else Whose.OPERATOR


def steps_of(findings: Sequence["FindingContent"]) -> tuple[Steps, ...]:
    """Group findings that are sorted worst first by what is to be done.

    Nothing where that is one step: it stands beside its finding.
    """
    groups: dict[tuple[str, str, str], list[FindingContent]] = {}
    for finding in findings:
        if finding.label != "ok" and (finding.advice or finding.commands):
            key = (finding.whose, finding.label, finding.code)
            groups.setdefault(key, []).append(finding)
    if len(groups) < 2:
        return ()
    lists = []
    for whose in Whose:
        steps = [_step(group) for (who, _, _), group in groups.items() if who == whose.value]
        if steps:
            more = len(steps) - STEPS_SHOWN
            lists.append(Steps(whose.value, tuple(steps[:STEPS_SHOWN]), max(0, more)))
    return tuple(lists)


def _step(group: Sequence["FindingContent"]) -> Step:
    first = group[0]
    return Step(
        label=first.label,
        sign=first.sign,
        kind=first.code.replace("-", " "),
        places=tuple(_places(group)),
        more=len(group) - SUBJECTS_SHOWN if len(group) > SUBJECTS_SHOWN else 0,
        advice=in_brief(first.advice),
        has_commands=any(finding.commands for finding in group),
    )


def _places(group: Iterable["FindingContent"]) -> Iterable[Place]:
    for number, finding in enumerate(group):
        if number < SUBJECTS_SHOWN:
            yield Place(finding.subject or finding.code, finding.anchor)


def in_brief(advice: str) -> str:
    """Return the first sentence of long advice, or the first part of a long sentence."""
    line = " ".join(advice.split())
    if len(line) <= _SHORT_ADVICE:
        return line
    sentence = _SENTENCE.match(line)
    if sentence is not None and len(sentence.group()) <= _LONGEST_ADVICE:
        return sentence.group()
    clause = _CLAUSE.match(line)
    if clause is not None and len(clause.group()) <= _LONGEST_ADVICE:
        return f"{clause.group()} …"
    return f"{line[:_SHORT_ADVICE].rstrip()} …"
