"""The line that sent a query, looked for where it was found the last time."""

from collections.abc import Iterator

import pytest
from django.template import Context, Engine
from django.utils import functional

from maintenance.web import call_sites
from maintenance.web.call_sites import CallSite, call_site

STATEMENT = "SELECT 1"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    call_sites._found_at.clear()
    yield
    call_sites._found_at.clear()


def ask(levels: int) -> CallSite:
    """Ask through frames of Django's, as many as are said and one."""
    return ask(levels - 1) if levels else call_site(STATEMENT, 0)


ask.__code__ = ask.__code__.replace(co_filename=functional.__file__)


class Sites:
    """Asks each time that it is shown."""

    def __init__(self, found: list[CallSite]) -> None:
        self._found = found

    def __str__(self) -> str:
        self._found.append(call_site(STATEMENT, 0))
        return ""

    __str__.__code__ = __str__.__code__.replace(co_filename=functional.__file__)


def first_line(function: object) -> int:
    return function.__code__.co_firstlineno  # type: ignore[attr-defined, no-any-return]


def test_lines_of_one_function_are_told_apart_in_whatever_order() -> None:
    found = []
    for _ in range(3):
        found.append(ask(4)[1])
        found.append(ask(4)[1])
    line = first_line(test_lines_of_one_function_are_told_apart_in_whatever_order)
    assert found == [line + 3, line + 4] * 3


def test_the_same_place_of_another_function_is_another_line() -> None:
    def one() -> CallSite:
        return ask(4)

    def other() -> CallSite:
        return ask(4)

    assert [one()[1], other()[1], one()[1], one()[1]] == [
        first_line(one) + 1,
        first_line(other) + 1,
        first_line(one) + 1,
        first_line(one) + 1,
    ]


def test_it_is_found_however_many_frames_are_between() -> None:
    def page(levels: int) -> CallSite:
        return ask(levels)

    assert {page(levels) for levels in (9, 0, 9, 4, 400)} == {
        (__file__, first_line(page) + 1),
        call_sites.NOWHERE,  # deeper than anybody looks
    }


def test_lines_of_a_template_are_told_apart_though_one_instruction_renders_them() -> None:
    template = Engine().from_string("{{ sites }}\n\n{{ sites }}\n{{ sites }}{{ sites }}")
    for node in template.nodelist:
        node.origin.name = __file__
    found: list[CallSite] = []

    template.render(Context({"sites": Sites(found)}))
    assert found == [(__file__, 1), (__file__, 3), (__file__, 4), (__file__, 4)]
