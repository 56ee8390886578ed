"""What has not the form of a message does nothing, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.runs.messages import MOST_OPTIONS_BYTES, fault_of_message

ID = "661e8d84-1b31-4f5c-bd3e-3cc36b5beead"

anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("target", "options"),
    [("", {}), ("library", {"dry_run": True}), ('Odd "na\'me" 100% {x}', {"tables": ["a.b"]})],
)
def test_a_message_of_ours_may_be_read(target: str, options: object) -> None:
    assert fault_of_message(ID, target, options) == ""


@pytest.mark.parametrize(
    ("task_id", "target", "options", "fault"),
    [
        ("../../etc/passwd", "", {}, "its id is none of a run"),
        (None, "", {}, "its id is none of a run"),
        ("{" + ID + "}", "", {}, "its id is none of a run"),
        (ID, ["library"], {}, "its target is no name"),
        (ID, "library\nERROR all is lost", {}, "its target is no name"),
        (ID, "x" * 101, {}, "its target is no name"),
        (ID, "\udc80", {}, "its target is no name"),
        (ID, "", "dry_run", "its options are no mapping"),
        (ID, "", {"a": {1, 2}}, "its options are no JSON"),
        (ID, "", {"a": "\x00"}, "its options hold what no database stores"),
        (
            ID,
            "",
            {"a": "x" * MOST_OPTIONS_BYTES},
            f"its options are longer than {MOST_OPTIONS_BYTES} characters",
        ),
    ],
)
def test_what_is_none_is_refused_with_a_reason(
    task_id: object, target: object, options: object, fault: str
) -> None:
    assert fault_of_message(task_id, target, options) == fault


@given(anything, anything, anything)
def test_whatever_comes_is_answered_and_never_repeated(
    task_id: object, target: object, options: object
) -> None:
    assert fault_of_message(task_id, target, options).startswith("its ")
