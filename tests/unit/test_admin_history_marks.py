"""The row of marks that stands for the last runs of a schedule."""

from hypothesis import given
from hypothesis import strategies as st

from maintenance.admin.history_marks import HEIGHT, MOST_MARKS, marks

KINDS = ["ok", "info", "warning", "critical", "failed", "skipped", "cancelled", "running"]


def test_the_newest_stands_at_the_right_and_the_worst_is_the_highest() -> None:
    drawn = marks(["failed", "ok", "skipped", "ok"], str)

    assert dict(drawn.paths) == {
        "ok": "M0 14h4v6h-4zM12 14h4v6h-4z",
        "skipped": "M6 18h4v2h-4z",
        "failed": "M18 0h4v20h-4z",
    }
    assert drawn.width == 22


def test_the_words_say_the_same_and_count_what_is_alike() -> None:
    drawn = marks(["failed", *["ok"] * 12, "warning"], str.upper)

    assert drawn.words == "FAILED, 12 × OK, WARNING"  # noqa: RUF001


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=60))
def test_every_run_that_is_shown_has_one_mark_within_the_drawing(kinds: list[str]) -> None:
    drawn = marks(kinds, str)

    shapes = [shape for _kind, path in drawn.paths for shape in path.split("z") if shape]
    assert len(shapes) == min(len(kinds), MOST_MARKS)
    places = sorted(int(shape[1:].split()[0]) for shape in shapes)
    assert places == list(range(0, 6 * len(shapes), 6))
    assert drawn.width == places[-1] + 4
    assert all(0 <= int(shape.split()[1].split("h")[0]) < HEIGHT for shape in shapes)
