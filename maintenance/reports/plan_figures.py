"""What a plan foretells, in a line for each thing that it names."""

from django.utils.translation import gettext as _

from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.reports.formatting import format_value, headings


def figures_of(plan: Report) -> list[tuple[str, str]]:
    """Return what the report of a dry run foretells of each thing, or why that would be left alone."""
    return [(outcome.action.subject, _foretold(outcome)) for outcome in plan.outcomes]


def _foretold(outcome: Outcome) -> str:
    predicted = outcome.action.predicted
    figures = "; ".join(
        f"{words}: {format_value(name, predicted[name])}"
        for name, words in zip(predicted, headings(tuple(predicted)), strict=True)
    )
    if outcome.verdict is Verdict.PLANNED:
        return figures
    return f"{_('left alone')}: {outcome.sentence} ({figures})"
