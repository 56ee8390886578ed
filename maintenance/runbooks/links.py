"""From a finding to the runbook that explains it."""

from dataclasses import replace

from maintenance.core.findings import Finding
from maintenance.runbooks import RUNBOOKS
from maintenance.runbooks.model import Runbook

#: A code that stands in several runbooks leads to the first one in which it is the symptom itself,
#: else to the first of all.
RUNBOOK_OF_CODE: dict[str, Runbook] = {
    **{code: book for book in reversed(RUNBOOKS.values()) for code in book.own_codes},
    **{code: book for book in reversed(RUNBOOKS.values()) for code in book.symptom_codes},
}


def linked(finding: Finding) -> Finding:
    """Return the finding with the command that walks its runbook, where it has no link of its own.

    One that could not be measured, or that says all is well, leads nowhere.
    """
    book = RUNBOOK_OF_CODE.get(finding.code)
    if book is None or finding.runbook or not finding.measured:
        return finding
    return replace(finding, runbook=book.command)
