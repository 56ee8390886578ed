"""The reference that the documentation draws from the code: whole, and in words."""

import ast
import re
from collections.abc import Callable

import pytest

from docs.reference_from_code import commands, findings, metrics, settings, source
from docs.reference_from_code.markdown import prose, table
from docs.reference_from_code.pages import PAGES
from docs.reference_from_code.types_in_words import type_words
from maintenance.conf.databases import DatabaseTarget, Pacing
from maintenance.core.runs.registry import all_tasks
from maintenance.runbooks import RUNBOOKS


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
def test_each_page_has_a_title_and_whole_tables(make: Callable[[], str]) -> None:
    text = make()

    assert text.startswith("# ")
    assert "object at 0x" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in rows)


def test_every_setting_of_every_section_is_on_the_page() -> None:
    text = settings.settings_page()

    sections = list(settings.sections())
    assert ("databases.<name>.pacing", Pacing) in sections
    for _path, model in sections:
        for name in model.model_fields:
            assert f"| `{name}` |" in text


def test_a_setting_is_said_in_words() -> None:
    fields = DatabaseTarget.model_fields

    assert settings.value_words(fields["jobs"]) == "whole number, above 0, at most 64"
    assert settings.value_words(fields["url"]).startswith("URL, or a reference")
    assert settings.default_words(fields["url"]) == "none"
    assert settings.default_words(fields["statement_timeout_seconds"]) == "`60`"
    assert type_words(tuple[str, ...] | None) == "list of: text"


def test_comments_of_an_assignment_are_its_reason() -> None:
    text = '# Above,\n# twice.\none = 1  # And behind.\n\n# --- A heading ---\ntwo = {\n    # Inside.\n    "a": 1,\n}\nthree = 3\n'

    assert source.reasons(text) == {"one": "Above, twice. And behind.", "two": "Inside."}


def test_every_task_has_its_part() -> None:
    text = PAGES["tasks"]()

    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [t.short_name for t in all_tasks()]


def test_codes_that_runbooks_know_are_found_in_the_source() -> None:
    found = findings.kinds()
    families = [re.sub(r"<.*?>", "[a-z0-9-]+", name) for name in found if "<" in name]
    known = {code for book in RUNBOOKS.values() for code in book.own_codes | book.symptom_codes}

    lost = {
        code
        for code in known - found.keys()
        if not any(re.fullmatch(family, code) for family in families)
    }
    assert len(known) > 50
    assert not lost


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('"a-b"', ["a-b"]),
        ("CODE", ["kept"]),
        ('"a" if x else CODE', ["a", "kept"]),
        ('f"{CODE}s-{fact.replace(1, 2)}"', ["kepts-<fact>"]),
        ('f"load-{result.kind}"', ["load-<kind>"]),
        ("code", []),
    ],
)
def test_what_an_expression_may_be(expression: str, expected: list[str]) -> None:
    module = source.Module("m.n", ast.Module([], []), {"CODE": "kept"})

    assert source.texts(module, ast.parse(expression, mode="eval").body) == expected


def test_gauges_and_samples_have_their_names() -> None:
    assert "maintenance_findings" in dict(metrics.gauges())
    assert "host" in metrics.samples()["disk_used_ratio"]


def test_subcommands_are_listed_with_their_command() -> None:
    names = [name for name, _parser in commands.parsers()]

    assert {"maintenance run", "maintenance reports show", "health_check"} <= set(names)


def test_marks_of_markdown_are_escaped_where_they_would_be_read() -> None:
    assert prose(":class:`~a.b.Kind` of <x> and ``<y>``") == "`Kind` of \\<x> and `<y>`"
    assert table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"
