"""Prometheus' text format, read back by Prometheus' own parser."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from maintenance.machines.exposition import Gauge, exposition
from maintenance.machines.openapi import STATES, document
from maintenance.models import RunState


def test_a_metric_has_its_help_its_type_and_a_line_for_each_value() -> None:
    gauge = Gauge("runs", "How many\nruns.", (({"task": 'a "b" \\ c'}, 3), ({}, 0.5)))

    assert exposition([gauge, Gauge("none", "Nothing.", ())]) == (
        "# HELP runs How many\\nruns.\n"
        "# TYPE runs gauge\n"
        'runs{task="a \\"b\\" \\\\ c"} 3.0\n'
        "runs 0.5\n"
    )


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.floats(), min_size=1, max_size=5
    )
)
def test_every_label_and_number_comes_back_as_it_was(values: dict[str, float]) -> None:
    gauge = Gauge("sample", "What.", tuple(({"subject": s}, v) for s, v in values.items()))

    [family] = text_string_to_metric_families(exposition([gauge]))
    read = {sample.labels["subject"]: sample.value for sample in family.samples}

    assert read.keys() == values.keys()
    for subject, value in values.items():
        assert read[subject] == value or (math.isnan(read[subject]) and math.isnan(value))


def test_the_document_of_the_api_refers_to_what_it_has() -> None:
    body = document("https://crew.example/api/v1/")
    schemas = body["components"]["schemas"]

    def references(part: object) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if "$ref" in part else set()
            return own.union(*(references(value) for value in part.values()))
        if isinstance(part, list):
            return set().union(*(references(value) for value in part))
        return set()

    assert references(body) == {f"#/components/schemas/{name}" for name in schemas}
    assert set(STATES) == set(RunState.values)
    assert body["servers"] == [{"url": "https://crew.example/api/v1"}]
