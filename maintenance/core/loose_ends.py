"""What a run leaves open however it ends: named in its report, and taken up by a run of its own."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from maintenance.core.findings import Finding

if TYPE_CHECKING:  # reports draw points of a job's history
    from maintenance.core.reports import FollowUp


class LooseEnds:
    """What one attempt leaves open, noted before it raises; a report that it returns says so itself."""

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = ()
        self.follow_up: FollowUp | None = None

    def note(self, findings: Iterable[Finding], follow_up: "FollowUp | None") -> None:
        """Put these in place of what was noted before."""
        self.findings = tuple(findings)
        self.follow_up = follow_up

    @property
    def in_words(self) -> str:
        """The sentences of the findings."""
        return " ".join(finding.sentence for finding in self.findings)
