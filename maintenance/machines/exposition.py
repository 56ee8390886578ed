"""Prometheus' text format, version 0.0.4, as far as gauges need it. Pure.

Source: Prometheus documentation, "Exposition formats". A scrape has a few thousand lines; the library
that Prometheus has for Python keeps counters of a process, which the ledger's are not.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric with its values: pairs of labels and a number. ``name`` ends in its unit."""

    name: str
    words: str
    values: tuple[tuple[Mapping[str, str], float], ...]


def exposition(gauges: Iterable[Gauge]) -> str:
    """Return the text of a scrape. A metric without values is left out: it is not measured."""
    return "".join(f"{line}\n" for gauge in gauges if gauge.values for line in _lines(gauge))


def _lines(gauge: Gauge) -> Iterator[str]:
    yield f"# HELP {gauge.name} {_escaped(gauge.words)}"
    yield f"# TYPE {gauge.name} gauge"
    for labels, value in gauge.values:
        named = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
        yield (
            f"{gauge.name}{{{named}}} {_number(value)}"
            if named
            else f"{gauge.name} {_number(value)}"
        )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
