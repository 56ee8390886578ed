"""What is planted in the sample site beside what the reports named."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.table import Table
from rich.text import Text

from maintenance.conf import Configuration
from maintenance.core.reports import ReportDocument
from maintenance.models import Run
from service.sample_site.truth import LATER, Fault, FaultKind, Truth


class Answer(StrEnum):
    """What the reports said about a planted fault."""

    NAMED = "yes"
    MISSING = "MISSING"
    NOT_RUN = "not run"  # its task was not asked for
    TOO_SMALL = "too small"  # below the threshold on this machine and at this scale


ANSWER_STYLES = {
    Answer.NAMED: "green",
    Answer.MISSING: "bold red",
    Answer.NOT_RUN: "dim",
    Answer.TOO_SMALL: "dim",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One planted fault, and whether the report of its task names it."""

    fault: Fault
    answer: Answer


def compare(
    truth: Truth,
    documents: Sequence[tuple[Run, ReportDocument]],
    configuration: Configuration,
) -> list[Comparison]:
    """Look for each fault that this release analyses in the reports of its task."""
    by_task: dict[str, list[ReportDocument]] = {}
    for run, document in documents:
        by_task.setdefault(run.short_task, []).append(document)
    return [
        Comparison(fault, _answer(fault, by_task.get(fault.analysed_by), configuration))
        for fault in truth.faults
        if fault.analysed_by != LATER
    ]


def _answer(
    fault: Fault, documents: Sequence[ReportDocument] | None, configuration: Configuration
) -> Answer:
    if documents is None:
        return Answer.NOT_RUN
    if any(names_fault(document, fault, configuration) for document in documents):
        return Answer.NAMED
    return Answer.TOO_SMALL if _is_too_small(fault, configuration) else Answer.MISSING


def _is_too_small(fault: Fault, configuration: Configuration) -> bool:
    """Tell whether silence is right: a small site's search is quick on a quick machine."""
    if fault.kind is not FaultKind.SLOW_QUERY:
        return False
    mean_ms = float(fault.observed.get("mean_exec_time_ms", 0.0))
    return mean_ms < configuration.thresholds.slow_query_mean_ms


def names_fault(document: ReportDocument, fault: Fault, configuration: Configuration) -> bool:
    """Tell whether a finding or an outcome is about the fault.

    Its tables do not count: they list healthy things as well.
    """
    report = document.report
    subjects = {f.subject for f in report.findings} | {o.action.subject for o in report.outcomes}
    if subjects & _configured_names(fault, document.run.target, configuration):
        return True
    body = report.to_json()
    return _says(
        fault.subject, json.dumps([body["findings"], body["outcomes"]], ensure_ascii=False)
    )


def _configured_names(fault: Fault, target: str, configuration: Configuration) -> set[str]:
    """Return what the operator calls a thing that the truth names by its keys.

    The truth knows key patterns, keys and the server; reports speak of stream families, warmers
    and targets, as the configuration names them.
    """
    if fault.kind in {FaultKind.OVER_LENGTH_STREAM, FaultKind.ABANDONED_STREAM}:
        families = configuration.families_on(target)
        return {name for name, family in families.items() if family.pattern == fault.subject}
    if fault.kind is FaultKind.COLD_CACHE_KEY:
        return {fault.subject.rpartition(":")[2]}  # Django's keys: prefix:version:name
    if fault.kind is FaultKind.LOW_CACHE_HIT_RATIO:
        return {target}
    return set()


def _says(subject: str, text: str) -> bool:
    """Tell whether ``subject`` stands in ``text`` as a whole name, not as part of a longer one."""
    written = re.escape(json.dumps(subject, ensure_ascii=False)[1:-1])
    return re.search(rf"(?<![\w.]){written}(?!\w|\.\w)", text) is not None


def missing(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return the faults whose task ran and did not name them."""
    return [c for c in comparisons if c.answer is Answer.MISSING]


def comparison_sentence(comparisons: Sequence[Comparison]) -> str:
    """Return how many planted faults were named, of those that had to be."""
    named = sum(c.answer is Answer.NAMED for c in comparisons)
    expected = named + len(missing(comparisons))
    left_out = len(comparisons) - expected
    rest = f"; {left_out} had no task that was run, or are too small" if left_out else ""
    return f"{named} of {expected} planted faults are named in a report{rest}"


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Return a row for each fault."""
    table = Table(title="Planted in the sample site, and named by a report", title_justify="left")
    for heading in ("Fault", "Subject", "Task", "Named"):
        table.add_column(heading, overflow="fold")
    for comparison in comparisons:
        fault = comparison.fault
        table.add_row(
            *(fault.kind.value.replace("_", " "), Text(fault.subject), fault.analysed_by),
            Text(comparison.answer.value, style=ANSWER_STYLES[comparison.answer]),
        )
    return table
