"""Catalogues of translations: nothing marked is missing, nothing is stale, and what is compiled is fresh."""

import re
from collections import Counter

import pytest
from babel.messages import Catalog
from django.utils.translation import gettext, ngettext, override, pgettext

from maintenance.models import Run
from translations.__main__ import LANGUAGES, compiled, po_file, stored, template, untranslated
from translations.marked import Marked, _in_python, _in_template

_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w*\}")


@pytest.fixture(scope="module")
def wanted() -> Catalog:
    return template()


@pytest.fixture(params=LANGUAGES, scope="module")
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def texts(catalog: Catalog) -> set[tuple[str | None, str]]:
    return {(message.context, str(message.id)) for message in catalog if message.id}


def test_every_marked_text_is_translated(wanted: Catalog, language: str) -> None:
    there = stored(language)

    # What is missing: make messages, and translate what it names. One left over does no harm until then.
    assert texts(wanted) - texts(there) == set()
    assert untranslated(there) == []


def test_what_django_reads_is_made_of_what_people_edit(language: str) -> None:
    assert po_file(language).with_suffix(".mo").read_bytes() == compiled(stored(language))


def test_a_translation_fills_in_what_its_text_fills_in(language: str) -> None:
    for message in stored(language):
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        if ids[0]:
            meant = {placeholder for text in ids for placeholder in _PLACEHOLDER.findall(text)}
            for form in forms:
                assert set(_PLACEHOLDER.findall(form)) <= meant, message.id
            assert Counter(_PLACEHOLDER.findall(forms[-1])) == Counter(
                _PLACEHOLDER.findall(ids[-1])
            ), message.id


def test_the_admin_speaks_german() -> None:
    with override("de"):
        assert gettext("What needs a decision") == "Was eine Entscheidung braucht"
        assert pgettext("a target", "on") == "auf"
        assert ngettext("%(number)s run", "%(number)s runs", 2) % {"number": 2} == "2 Läufe"
        assert str(Run._meta.verbose_name) == "Lauf"
    with override("en"):
        assert str(Run._meta.verbose_name) == "run"


def test_marks_of_python_are_found_in_every_form() -> None:
    source = """
_("one")
ngettext("a run", "runs", n)
pgettext_lazy("a target", "on")
_(variable)
other("not marked")
"""
    assert list(_in_python(source, "x.py")) == [
        Marked("one", "", "", "x.py"),
        Marked("a run", "runs", "", "x.py"),
        Marked("on", "", "a target", "x.py"),
    ]


def test_marks_of_templates_are_found_with_parentheses_plurals_and_contexts() -> None:
    source = """{% load i18n %}<p title="{% translate "It's (really) so" %}">{{ _("no") }}
    {% blocktranslate count n=n %}{{ n }} run{% plural %}{{ n }} runs{% endblocktranslate %}
    {% translate "on" context "a target" %}"""
    found = {(one.text, one.plural, one.context) for one in _in_template(source, "x.html")}
    assert found == {
        ("It's (really) so", "", ""),
        ("no", "", ""),
        ("%(n)s run", "%(n)s runs", ""),
        ("on", "", "a target"),
    }
