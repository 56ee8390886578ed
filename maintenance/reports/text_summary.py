"""What stands on top of a report in a terminal: what changed, and what is to be done."""

from collections.abc import Iterator

from maintenance.reports.changes import ChangesContent
from maintenance.reports.columns import hanging, indented, paired, titled, wrap
from maintenance.reports.next_steps import Steps


def change_lines(changes: ChangesContent, width: int) -> Iterator[str]:
    """Yield what changed since the previous report."""
    yield ""
    yield from titled(f"Since the previous report ({changes.previous})", "-", width)
    yield from wrap(changes.sentence, width)
    for fate in changes.fates:
        for finding in fate.findings:
            head = f"{fate.title.lower()}: [{finding.sign}] {finding.word.upper()}"
            yield from hanging("  ", f"{head} {finding.subject}".rstrip(), width)
            yield from hanging("      ", finding.sentence, width)
        if fate.more:
            yield f"  and {fate.more} more {fate.title.lower()}"
    numbers = [
        (n.label, f"{n.before} -> {n.now}" + (f" ({n.share})" if n.share else ""))
        for n in changes.numbers
    ]
    if numbers:
        yield from indented(paired(numbers, width - 2), 2)


def step_lines(steps: Steps, width: int) -> Iterator[str]:
    """Yield the steps of one person; the commands stand with their findings."""
    yield ""
    yield from titled(steps.title, "-", width)
    for step in steps.steps:
        how = " (commands below)" if step.has_commands else ""
        yield from hanging(f"[{step.sign}] ", f"{step.words}{how}", width)
    if steps.more:
        yield f"and {steps.more} more, with the findings"
