"""The rule of a stream family, as pure arithmetic."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import StreamFamily
from maintenance.redis.trimming import (
    PIECE_MEMBERS,
    Excess,
    LengthDistribution,
    Piece,
    TrimRule,
    batches,
    weight,
)
from maintenance.redis_client.batch_size import BatchSize

lengths = st.integers(min_value=0, max_value=50_000)
limits = st.integers(min_value=1, max_value=5_000)


def rule(kind: str, keep: str | None = None, max_length: int = 200) -> TrimRule:
    return TrimRule(
        StreamFamily(redis="main", pattern="*", type=kind, keep=keep, max_length=max_length)
    )


def size_of(units: int) -> BatchSize:
    return BatchSize(units, smallest=1, largest=units)


def pieces(key: bytes, length: int, max_length: int, units: int = 5000) -> list[Piece]:
    excess = Excess(length)
    return list(rule("zset", max_length=max_length).pieces(key, excess, size_of(units)))


@given(length=lengths, max_length=limits, units=st.integers(min_value=1, max_value=3000))
def test_pieces_end_at_exactly_the_maximum_length_and_never_go_below(
    length: int, max_length: int, units: int
) -> None:
    length = min(length, max_length + 50 * units)
    made = pieces(b"k", length, max_length, units)
    assert sum(piece.members for piece in made) == max(0, length - max_length)
    assert all(piece.keep is not None and max_length <= piece.keep < length for piece in made)
    assert [piece.last for piece in made] == [False] * (len(made) - 1) + [True] * bool(made)
    assert [piece.first for piece in made] == [True] * bool(made) + [False] * (len(made) - 1)


@given(length=lengths, max_length=limits, units=st.integers(min_value=1, max_value=3000))
def test_no_piece_removes_more_than_its_bound_nor_than_a_batch(
    length: int, max_length: int, units: int
) -> None:
    length = min(length, max_length + 50 * units)
    made = pieces(b"k", length, max_length, units)
    assert all(piece.members <= min(PIECE_MEMBERS, units) for piece in made)


@given(
    over=st.dictionaries(st.binary(max_size=8), lengths, max_size=30),
    max_length=limits,
    budget=st.integers(min_value=PIECE_MEMBERS, max_value=3 * PIECE_MEMBERS),
)
def test_batches_hold_every_piece_once_within_their_budget(
    over: dict[bytes, int], max_length: int, budget: int
) -> None:
    expected = [
        piece for key, length in over.items() for piece in pieces(key, length, max_length, budget)
    ]
    made = list(batches(expected, size_of(budget)))
    assert [piece for batch in made for piece in batch] == expected
    assert all(weight(batch) <= budget or len(batch) == 1 for batch in made)


def test_the_statement_restates_the_rule_of_each_type_and_end() -> None:
    said = {
        (kind, keep): rule(kind, keep).statement
        for kind, keep in [
            ("zset", "highest"),
            ("zset", "lowest"),
            ("list", "head"),
            ("list", "tail"),
            ("stream", "newest"),
        ]
    }
    assert said == {
        ("zset", "highest"): "ZREMRANGEBYRANK <key> 0 -201",
        ("zset", "lowest"): "ZREMRANGEBYRANK <key> 200 -1",
        ("list", "head"): "LTRIM <key> 0 199",
        ("list", "tail"): "LTRIM <key> -200 -1",
        ("stream", "newest"): "XTRIM <key> MAXLEN = 200",
    }


def test_the_ends_that_stay_by_default_are_the_newest_of_the_usual_writers() -> None:
    assert [rule(kind).kept_end for kind in ("zset", "list", "stream")] == [
        "highest",
        "head",
        "newest",
    ]


def test_a_piece_that_is_not_the_last_keeps_more_than_the_rule() -> None:
    packed = rule("zset").trim(
        Piece(b"k", Excess(2200), keep=1200, members=1000, first=True, last=False)
    )
    assert packed == b"*4\r\n$15\r\nZREMRANGEBYRANK\r\n$1\r\nk\r\n$1\r\n0\r\n$5\r\n-1201\r\n"


def test_the_least_rights_name_only_the_commands_of_the_type() -> None:
    assert rule("list").needs_acl == ("+llen", "+ltrim", "+scan")
    groups = ("+xinfo|groups", "+xlen", "+xpending", "+xrange", "+xtrim")
    assert rule("stream").needs_acl == ("+scan", *groups)


@given(
    before=st.lists(st.integers(min_value=1, max_value=5000), max_size=200),
    max_length=st.integers(min_value=1, max_value=400),
)
def test_the_distribution_counts_every_key_in_the_class_of_its_length(
    before: list[int], max_length: int
) -> None:
    first, second = LengthDistribution(max_length), LengthDistribution(max_length)
    first.add(Counter(before))
    second.add(Counter(min(length, max_length) for length in before))
    rows = first.rows(second)
    assert sum(row["keys_before"] for row in rows) == len(before)
    assert sum(row["keys_after"] for row in rows) == len(before)
    for row in rows:
        last = row["to_members"] or float("inf")
        inside = [length for length in before if row["from_members"] <= length <= last]
        assert row["keys_before"] == len(inside)
        assert row["keys_after"] == 0 or row["from_members"] <= max_length


def test_a_key_that_vanished_is_in_no_class() -> None:
    counted = LengthDistribution(10)
    counted.add({0: 2, 3: 1})
    assert sum(row["keys_before"] for row in counted.rows(LengthDistribution(10))) == 1
