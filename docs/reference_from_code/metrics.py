"""The page of metrics: what ``/metrics`` answers, and every sample that a run stores."""

from collections import defaultdict
from collections.abc import Iterator

from docs.reference_from_code.markdown import code, page, prose, table
from docs.reference_from_code.source import argument, modules, texts

_INTRODUCTION = """
How they are asked for, and alarms that are worth having: [Metrics and API](../../metrics_and_api.md).
"""
_SAMPLES = """
Runs measure these; `/metrics` has the newest of each as `maintenance_sample{metric="..."}`, the admin draws
them, and forecasts read them. Their names end in their unit.
"""


def metrics_page() -> str:
    """Return the page."""
    return page(
        "Metrics",
        _INTRODUCTION.strip(),
        "## Of the crew",
        table(("metric", "meaning"), ((code(name), words) for name, words in gauges())),
        "## Samples",
        _SAMPLES.strip(),
        table(("sample", "from"), ((code(name), ", ".join(by)) for name, by in samples().items())),
    )


def gauges() -> Iterator[tuple[str, str]]:
    """Yield names and meanings of all gauges in the source."""
    for module in modules():
        for call in module.calls("Gauge"):
            words = texts(module, argument(call, 1, "words"))
            for name in texts(module, argument(call, 0, "name")):
                yield name, prose(" ".join(words))


def samples() -> dict[str, list[str]]:
    """Return the names of all samples in the source with the subjects that take them."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for call in module.calls("Sample"):
            for name in texts(module, argument(call, 0, "metric")):
                found[name].add(module.subject)
    return {name: sorted(found[name]) for name in sorted(found)}
