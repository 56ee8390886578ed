"""Sizes of compact values, limits by version, and which limit is worth raising."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.redis.reclaim.advice import (
    raised_limits,
    too_large_findings,
    too_slow_findings,
)
from maintenance.redis.reclaim.compact import (
    Limits,
    SizeModel,
    is_whole_number,
    limits_from,
)
from maintenance.redis.reclaim.encodings import EncodingSample, MeasuredValue, recommend
from maintenance.redis.reclaim.expiry import ExpiryLook
from maintenance.redis.reclaim.guard import Touched
from maintenance.redis.reclaim.leftovers import AbandonedPrefix, TimeOut
from maintenance.redis.reclaim.trial import Measured, is_too_slow
from maintenance.redis_client.server import ServerFacts, parse_facts

REDIS_7 = {
    "zset-max-ziplist-entries": "128",
    "zset-max-listpack-entries": "128",
    "zset-max-ziplist-value": "64",
    "zset-max-listpack-value": "64",
    "hash-max-listpack-entries": "512",
    "hash-max-listpack-value": "64",
    "set-max-intset-entries": "512",
}


def test_limits_are_read_by_the_names_of_each_version() -> None:
    seven = limits_from(REDIS_7)
    assert (seven["zset"].entries_setting, seven["zset"].entries) == (
        "zset-max-listpack-entries",
        128,
    )
    assert (seven["set"].entries, seven["set"].integer_entries) == (0, 512)
    six = limits_from({k.replace("listpack", "ziplist"): v for k, v in REDIS_7.items()})
    assert six["hash"].entries_setting == "hash-max-ziplist-entries"
    valkey = limits_from(
        REDIS_7 | {"set-max-listpack-entries": "128", "set-max-listpack-value": "64"}
    )
    assert valkey["set"].entries == 128


def test_a_limit_holds_by_members_and_by_the_longest() -> None:
    limits = limits_from(REDIS_7)
    assert limits["zset"].hold(128, 64, whole_numbers=False)
    assert not limits["zset"].hold(129, 1, whole_numbers=False)
    assert not limits["zset"].hold(2, 65, whole_numbers=False)
    assert limits["set"].hold(512, 3, whole_numbers=True)
    assert not limits["set"].hold(2, 3, whole_numbers=False)


@pytest.mark.parametrize(
    ("member", "is_number"),
    [
        (b"0", True),
        (b"-1", True),
        (b"9223372036854775807", True),
        (b"9223372036854775808", False),
        (b"01", False),
        (b"-0", False),
        (b"+1", False),
        (b"1.0", False),
        (b"", False),
    ],
)
def test_whole_numbers_are_those_that_the_server_stores_as_such(
    member: bytes, is_number: bool
) -> None:
    assert is_whole_number(member) is is_number


REDIS = SizeModel(has_jemalloc=True, embeds_keys=False)
VALKEY = SizeModel(has_jemalloc=False, embeds_keys=True)
OLDEST = SizeModel(has_jemalloc=False, embeds_keys=False, has_ziplists=True)


@given(st.integers(1, 10**6), st.sampled_from([REDIS, VALKEY]))
def test_the_allocator_gives_at_least_what_is_asked_and_at_most_a_quarter_more(
    size: int, model: SizeModel
) -> None:
    given_bytes = model.allocated_bytes(size)
    assert size <= given_bytes <= max(24, size * 1.25 + 16)


@pytest.mark.parametrize(
    ("model", "key_bytes", "fields", "usage_bytes"),
    [
        (REDIS, 3, 2, 96),
        (REDIS, 40, 20, 408),
        (REDIS, 100, 100, 1688),
        (VALKEY, 3, 2, 64),
        (VALKEY, 40, 20, 368),
        (VALKEY, 100, 100, 1632),
        (OLDEST, 3, 2, 101),
        (OLDEST, 40, 20, 387),
        (OLDEST, 100, 100, 1635),
    ],
)
def test_the_model_says_what_servers_said_of_such_hashes(
    model: SizeModel, key_bytes: int, fields: int, usage_bytes: int
) -> None:
    """As MEMORY USAGE did on Redis 7.0.15 with jemalloc, and on Valkey 9.1 and Redis 6.2.14 with the
    C library."""
    members = [text for n in range(fields) for text in (f"f{n}".encode(), f"value-{n}".encode())]
    assert model.packed_bytes("hash", members, key_bytes) == usage_bytes


@pytest.mark.parametrize(
    ("field", "usage_bytes"),
    [
        (b"0", 80),
        (b"12", 80),
        (b"13", 81),
        (b"-1", 81),
        (b"-128", 81),
        (b"128", 82),
        (b"-32768", 82),
        (b"32768", 83),
        (b"8388608", 84),
        (b"2147483648", 88),
        (b"01", 82),
        (b"x" * 70, 151),
        (b"x" * 300, 385),
    ],
)
def test_the_model_says_what_redis_6_2_said_of_an_entry(field: bytes, usage_bytes: int) -> None:
    """As MEMORY USAGE did on Redis 6.2.14 of a hash with this field, of the value "v"."""
    assert OLDEST.packed_bytes("hash", [field, b"v"], 1) == usage_bytes


def test_numbers_in_a_set_take_the_width_of_the_largest() -> None:
    def size(largest: int) -> int:
        return REDIS.packed_bytes("set", [b"%d" % n for n in (1, largest)] * 50, 0)

    assert size(100) < size(2**20) < size(2**40)
    lowest = [b"%d" % -(2**15)] * 100
    assert REDIS.packed_bytes("set", lowest, 0) == REDIS.packed_bytes("set", [b"1"] * 100, 0)


def value(length: int, longest: int = 8, **changes: object) -> MeasuredValue:
    facts = {
        "key": b"7-home",
        "kind": "zset",
        "whole_numbers": False,
        "size_bytes": 20_000,
        "packed_bytes": 3_000,
        "is_loose": True,
    }
    return MeasuredValue(length=length, longest_bytes=longest, **(facts | changes))  # type: ignore[arg-type]


def sample(*values: MeasuredValue, unread: int = 0, kind: str = "zset") -> EncodingSample:
    loose = sum(one.is_loose for one in values) + unread
    return EncodingSample(
        total_keys=100_000,
        is_whole=False,
        drawn=1000,
        values=list(values),
        loose_keys={kind: loose},
        unread_keys={kind: unread},
    )


LIMITS = {"zset": Limits("zset-max-listpack-entries", 128, "zset-max-listpack-value", 64)}


def test_the_lowest_limit_that_does_most_of_the_work_is_advised() -> None:
    (found,) = recommend(sample(*[value(200)] * 99, value(500)), LIMITS)
    assert (found.setting, found.current, found.value) == ("zset-max-listpack-entries", 128, 256)
    assert found.keys == 9_900
    assert found.saved_bytes == pytest.approx(9_900 * 17_000)
    assert found.lowest_bytes < found.saved_bytes < found.highest_bytes
    (higher,) = recommend(sample(*[value(200)] * 50, *[value(500)] * 50), LIMITS)
    assert higher.value == 512


def test_values_that_fit_already_only_need_repacking() -> None:
    (found,) = recommend(sample(*[value(100)] * 50), LIMITS)
    assert found.is_repack_only
    assert found.saved_bytes == pytest.approx(50 * 100 * 17_000)


def test_long_members_need_the_other_limit_and_very_long_ones_none() -> None:
    (found,) = recommend(sample(*[value(100, longest=100)] * 50), LIMITS)
    assert (found.setting, found.value) == ("zset-max-listpack-value", 128)
    assert recommend(sample(*[value(100, longest=200)] * 50), LIMITS) == []
    assert recommend(sample(*[value(600)] * 50), LIMITS) == []


#: As Redis 7.2 and Valkey begin.
DEFAULTS = limits_from(
    REDIS_7 | {"set-max-listpack-entries": "128", "set-max-listpack-value": "64"}
)


def advised(kind: str, *values: dict[str, object], **too_slow: int) -> dict[str, int]:
    """Return the advice on fifty of each of these values of one kind, by setting."""
    many = [value(kind=kind, **one) for one in values for _ in range(50)]  # type: ignore[arg-type]
    slow = {f"{name.replace('_', '-')}": limit for name, limit in too_slow.items()}
    found = recommend(sample(*many, kind=kind), {kind: DEFAULTS[kind]}, slow)
    return {one.setting: one.value for one in found}


def test_a_hash_just_over_its_limit_has_a_limit_that_is_advised() -> None:
    assert advised("hash", {"length": 513}) == {"hash-max-listpack-entries": 1024}
    assert advised("hash", {"length": 1024}) == {"hash-max-listpack-entries": 1024}
    assert advised("hash", {"length": 1025}) == {}
    assert advised("hash", {"length": 20, "longest": 100}) == {"hash-max-listpack-value": 128}
    assert advised("hash", {"length": 600, "longest": 100}) == {}


def test_words_and_whole_numbers_of_sets_have_limits_of_their_own() -> None:
    assert advised("set", {"length": 200}) == {"set-max-listpack-entries": 256}
    assert advised("set", {"length": 500}) == {"set-max-listpack-entries": 512}
    numbers = {"whole_numbers": True}
    assert advised("set", {"length": 700, **numbers}) == {"set-max-intset-entries": 1024}
    assert advised("set", {"length": 2000, **numbers}) == {"set-max-intset-entries": 2048}
    assert advised("set", {"length": 513}) == {}
    both = advised("set", {"length": 200}, {"length": 700, **numbers})
    assert both == {"set-max-listpack-entries": 256, "set-max-intset-entries": 1024}


def test_what_a_trial_found_too_slow_gives_way_to_a_lower_limit_or_to_none() -> None:
    assert advised("zset", {"length": 500}) == {"zset-max-listpack-entries": 512}
    mixed = {"length": 200}, {"length": 500}
    assert advised("zset", *mixed) == {"zset-max-listpack-entries": 512}
    lower = advised("zset", *mixed, zset_max_listpack_entries=512)
    assert lower == {"zset-max-listpack-entries": 256}
    assert advised("zset", *mixed, zset_max_listpack_entries=256) == {}
    assert advised("hash", {"length": 600}, hash_max_listpack_entries=1024) == {}


def measured(find_us: float, write_us: float) -> Measured:
    """A value that takes a microsecond now."""
    return Measured(b"k", 600, 40_000, 12_000, 1e-6, find_us * 1e-6, 1e-6, write_us * 1e-6)


def test_a_trial_decides_by_the_dearer_of_finding_and_writing() -> None:
    assert not is_too_slow([])
    assert not is_too_slow([measured(5, 5), measured(4, 29), measured(3, 500)])
    assert is_too_slow([measured(5, 60), measured(4, 70), measured(3, 3)])
    assert is_too_slow([measured(90, 5)])


def test_a_limit_that_costs_too_much_is_named_with_what_it_would_save() -> None:
    (one,) = recommend(sample(*[value(500)] * 50), LIMITS)
    (finding,) = too_slow_findings({one.setting: (one, [measured(5, 60)])})
    assert finding.sentence == (
        "Raising zset-max-listpack-entries from 128 to 512 is not advised: copies of 1 value take"
        " 70 % less under it, but to find a member takes 0.0050 ms instead of 0.0010 ms, to write"
        " one 0.0600 ms instead of 0.0010 ms."
    )
    assert finding.evidence["limit"] == 512


def test_raised_limits_are_known_by_the_names_of_each_version() -> None:
    assert list(raised_limits(DEFAULTS)) == []
    raised = REDIS_7 | {"hash-max-listpack-entries": "1024", "set-max-intset-entries": "2048"}
    assert list(raised_limits(limits_from(raised))) == [
        ("hash-max-listpack-entries", 1024, 512),
        ("set-max-intset-entries", 2048, 512),
    ]
    six = {"zset-max-ziplist-entries": "256", "hash-max-ziplist-value": "128"}
    assert list(raised_limits(limits_from(six))) == [
        ("zset-max-ziplist-entries", 256, 128),
        ("hash-max-ziplist-value", 128, 64),
    ]


def test_what_is_beyond_every_limit_is_named_where_it_is_much_of_the_memory() -> None:
    large = sample(kind="hash")
    large.loose_keys["hash"] = large.too_large_keys["hash"] = 10
    large.too_large_bytes["hash"] = 10 * 300_000
    (finding,) = too_large_findings(large, server(used_memory_bytes=10**9))
    assert finding.sentence.startswith(
        "1,000 hashes of about 286 MB are beyond every limit that is advised (1,024 members,"
    )
    assert list(too_large_findings(large, server(used_memory_bytes=4 * 10**9))) == []


def server(used_memory_bytes: int) -> ServerFacts:
    info = {
        "redis_version": "7.2.4",
        "role": "master",
        "uptime_in_seconds": 1,
        "used_memory": used_memory_bytes,
        "maxmemory": 0,
        "maxmemory_policy": "noeviction",
        "evicted_keys": 0,
        "expired_keys": 0,
        "keyspace_hits": 0,
        "keyspace_misses": 0,
        "run_id": "a",
    }
    return parse_facts(info)


def test_compact_values_and_those_without_a_gain_are_no_advice() -> None:
    assert recommend(sample(*[value(200, packed_bytes=20_000)] * 50), LIMITS) == []
    assert recommend(sample(*[value(100, is_loose=False)] * 50), LIMITS) == []


def test_loose_values_that_were_not_read_are_taken_for_like_the_others() -> None:
    (found,) = recommend(sample(*[value(200)] * 100, unread=300), LIMITS)
    assert found.saved_bytes == pytest.approx(400 * 100 * 17_000)


def test_a_limit_of_nothing_is_never_raised() -> None:
    off = {"set": Limits("set-max-listpack-entries", 0, "set-max-listpack-value", 0)}
    assert recommend(sample(value(50, kind="set")), off) == []


def test_how_far_the_model_is_off_is_known_from_compact_values_only() -> None:
    assert sample(value(200)).model_error_ratio is None
    compact = value(100, is_loose=False, size_bytes=1000, packed_bytes=980)
    assert sample(value(200), compact).model_error_ratio == pytest.approx(0.02)


def test_a_time_of_expiry_is_read_from_what_is_left_only_if_the_clock_stood_still() -> None:
    look = ExpiryLook(knows_expiry_times=False)
    assert look.read([[b"1700000000", b"123400"], 5000, [b"1700000000", b"123999"]]) == (
        1_700_000_005_123
    )
    with pytest.raises(Touched):
        look.read([[b"1700000000", b"123999"], 5000, [b"1700000000", b"124000"]])
    assert look.read([[b"1", b"0"], -1, [b"1", b"9"]]) == 0
    assert look.read([[b"1", b"0"], -2, [b"1", b"9"]]) is None


def test_only_redis_6_2_gives_an_idle_time_back_no_longer_than_its_clock_has_run() -> None:
    older, newer = (ExpiryLook(knows_expiry_times=known) for known in (False, True))
    begun_s = 100 * 2**24
    # Less a minute, by which that clock may be behind the one of TIME.
    for run_s, longest_s in ((67, 7), (7, 0)):
        at = [b"%d" % (begun_s + run_s), b"0"]
        assert older.longest_idle_seconds([at, -1, at]) == longest_s
    assert newer.longest_idle_seconds([-1]) is None


def test_a_prefix_means_itself_and_no_pattern() -> None:
    assert AbandonedPrefix("old[*", 0).pattern == rb"old\[\**"


def test_times_to_live_are_spread_by_a_tenth_and_never_shorter_than_the_rule() -> None:
    rule = TimeOut("page:", 1000)
    seconds = [int(rule.write(f"page:{n}".encode()).split(b"\r\n")[6]) for n in range(500)]
    assert min(seconds) >= 1000
    assert 1080 < max(seconds) <= 1100
    assert rule.write(b"page:1") == rule.write(b"page:1")
