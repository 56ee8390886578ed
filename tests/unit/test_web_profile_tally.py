"""Lines of a performance log that anybody may have written: counted, or counted as malformed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.web import profile_tally
from maintenance.web.profile_tally import ProfileTally


def group(**changes: Any) -> dict[str, Any]:
    return {
        "statement": "SELECT a FROM t WHERE id = ?",
        "digest": "d1",
        "command": "SELECT",
        "table": "t",
        "model": "library.T",
        "database": "default",
        "at": "library/views.py:7",
        "calls": 10,
        "ms": 20.0,
        "slowest_ms": 4.0,
        "rows": 10,
        "most_rows": 1,
        "is_repeated": True,
        "lookup": {
            "relation": "foreign key",
            "model": "library.Book",
            "field": "t",
            "table": "book",
            "is_filtered": False,
        },
        "from": "library/views.py:5",
        **changes,
    }


def profile(*groups: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "event": "query-profile",
        "at": "2026-03-01T10:00:00+00:00",
        "name": "GET books/",
        "queries": 11,
        "query_ms": 22.0,
        "sample_ratio": 1.0,
        "lines_left_out": 0,
        "groups": list(groups),
        **changes,
    }


def test_what_is_spared_is_all_but_one_of_each_request_and_counts_for_its_sample() -> None:
    tally = ProfileTally()
    tally.add(profile(group()))
    tally.add(profile(group(calls=30, ms=30.0), sample_ratio=0.1))
    (found,) = tally.groups.values()
    assert found.saved_calls == pytest.approx(9 + 10 * 29)
    assert found.saved_milliseconds == pytest.approx(18 + 10 * 29)
    assert (found.repeated_calls, found.most_calls, found.source) == (40, 30, "library/views.py:5")


def test_calls_that_were_not_repeated_spare_nothing() -> None:
    tally = ProfileTally()
    tally.add(profile(group(calls=1, is_repeated=False)))
    (found,) = tally.groups.values()
    assert (found.calls, found.repeated_calls, found.saved_calls) == (1, 0, 0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_tally, "MAXIMUM_GROUPS", 3)
    tally = ProfileTally()
    for number in range(10):
        tally.add(profile(group(digest=str(number)), name=f"GET {number}"))
        tally.add(profile(group(digest="0"), name=f"GET {number}"))
    assert len(tally.groups) == 3
    assert tally.left_out_groups == 7
    assert len(tally.groups["0", "library/views.py:7"].names) == profile_tally.NAMES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(st.sampled_from(sorted(profile())), JSON)
def test_a_field_of_any_other_kind_never_breaks_the_review(name: str, value: Any) -> None:
    tally = ProfileTally()
    tally.add(profile(group(), **{name: value}))
    assert tally.profiles + tally.malformed == 1


@given(st.sampled_from(sorted(group())), JSON)
def test_nor_does_one_of_a_group(name: str, value: Any) -> None:
    tally = ProfileTally()
    tally.add(profile(group(**{name: value})))
    assert tally.profiles + tally.malformed == 1
