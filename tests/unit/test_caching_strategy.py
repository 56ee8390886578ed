"""What to do with each kind of cached value: golden cases of every verdict, and what never happens."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.caching.counters import PrefixCounts
from maintenance.caching.strategy import Advice, PrefixUse, StoredKeys, judge, to_row
from maintenance.conf import Thresholds

HOUR = 3600
#: A month of a busy prefix: 90 % hits, each stored value read nine times, 200 ms to compute.
COUNTS = PrefixCounts(
    prefix="book",
    hits=90_000,
    misses=10_000,
    sets=10_000,
    computes=10_000,
    compute_microseconds=10_000 * 200_000,
    ending_sets=10_000,
    ttl_seconds=10_000 * HOUR,
)
STORED = StoredKeys(sampled_keys=500, keys=5_000, size_bytes=5_000_000, keys_without_ttl_ratio=0.0)
USE = PrefixUse(COUNTS, days=30, stored=STORED, evicted_keys=0)
LOW = replace(COUNTS, hits=50_000, misses=50_000, sets=50_000)
CHEAP = {"computes": 10_000, "compute_microseconds": 10_000 * 100}
UNTIMED = {"computes": 0, "compute_microseconds": 0}


def use(counts: PrefixCounts = COUNTS, **changes: object) -> PrefixUse:
    return replace(USE, counts=counts, **changes)


@pytest.mark.parametrize(
    ("given_use", "advice", "reason"),
    [
        (
            use(),
            Advice.KEEP,
            "90 % of 100,000 lookups find a value, and each value that is stored is read 9.0 times.",
        ),
        (
            use(days=6),
            Advice.WITHHELD,
            "Only 6 days were counted; 7 are needed, so that every day of the week is among them.",
        ),
        (
            use(PrefixCounts("book", hits=900, misses=99)),
            Advice.WITHHELD,
            "999 lookups in 30 days are too few to judge by; 1,000 are needed.",
        ),
        (
            use(replace(COUNTS, prefix="(other)")),
            Advice.WITHHELD,
            "These keys are of kinds that cannot be told apart; a PREFIX_RULE of the site can.",
        ),
        (
            use(replace(COUNTS, **CHEAP)),
            Advice.DROP,
            (
                "Hits saved 9 seconds of computing, and lookups and writes took about 33 seconds: caching"
                " costs more than it saves."
            ),
        ),
        (
            use(replace(COUNTS, hits=900, misses=100_000, sets=100_000, **UNTIMED)),
            Advice.DROP,
            "100,000 values were stored for 900 hits: more than nine in ten go unread.",
        ),
        (
            use(PrefixCounts("book", sets=5_000)),
            Advice.DROP,
            "5,000 values were stored for 0 hits: more than nine in ten go unread.",
        ),
        (
            use(replace(LOW, sets=1_000)),
            Advice.KEEP,
            (
                "Only 50 % of 100,000 lookups find a value, but only 1,000 values were stored for 50,000"
                " misses: what is looked for mostly does not exist, and no time-out changes that."
            ),
        ),
        (
            use(replace(LOW, deletes=40_000)),
            Advice.WARM,
            (
                "Only 50 % of 100,000 lookups find a value: 40,000 keys were invalidated for 50,000 values"
                " stored, most before they were read again."
            ),
        ),
        (
            use(LOW, evicted_keys=7),
            Advice.KEEP,
            (
                "Only 50 % of 100,000 lookups find a value, and the server evicted 7 keys meanwhile: values"
                " go before their time-out, so a longer one changes nothing."
            ),
        ),
        (
            use(LOW, stored=replace(STORED, keys=12)),
            Advice.WARM,
            (
                "Only 50 % of 100,000 lookups find a value; 12 keys are few enough to compute beforehand,"
                " and each miss keeps a visitor waiting for 200 ms."
            ),
        ),
        (
            use(LOW),
            Advice.LONGER,
            (
                "Only 50 % of 100,000 lookups find a value, each value is stored for 1.0 hits and expires"
                " after 1 hour; misses cost 5.6 minutes of computing a day."
            ),
        ),
        (
            use(replace(LOW, ending_sets=0, ttl_seconds=0)),
            Advice.KEEP,
            (
                "Only 50 % of 100,000 lookups find a value, but values are stored without a time-out: misses"
                " are first reads, and nothing can be held longer."
            ),
        ),
        (
            use(replace(LOW, ttl_seconds=10_000 * 31 * 86_400)),
            Advice.KEEP,
            (
                "Only 50 % of 100,000 lookups find a value, but values are held for 31 days already: misses"
                " are first reads."
            ),
        ),
        (
            use(stored=replace(STORED, keys=200_000, size_bytes=200 * 1024**2)),
            Advice.SHORTER,
            (
                "200,000 values of 200 MB are held for 90,000 hits in 30 days: most are never read again"
                " before they expire after 1 hour."
            ),
        ),
        (
            use(
                stored=replace(
                    STORED, keys=200_000, size_bytes=200 * 1024**2, keys_without_ttl_ratio=0.75
                )
            ),
            Advice.SHORTER,
            (
                "200,000 values of 200 MB are held for 90,000 hits in 30 days: most are never read again,"
                " and 75 % of them never expire."
            ),
        ),
    ],
)
def test_every_verdict_has_its_case_and_its_reason(
    given_use: PrefixUse, advice: Advice, reason: str
) -> None:
    verdict = judge(given_use, Thresholds())
    assert (verdict.advice, verdict.reason) == (advice, reason)
    if advice in {Advice.DROP, Advice.WARM, Advice.LONGER, Advice.SHORTER}:
        assert verdict.change


def test_a_longer_time_out_is_twice_as_long_and_a_month_at_most() -> None:
    assert "time-out of 2 hours" in judge(use(LOW), Thresholds()).change
    weeks = replace(LOW, ttl_seconds=10_000 * 20 * 86_400)
    assert "time-out of 30 days" in judge(use(weeks), Thresholds()).change


counts = st.integers(min_value=0, max_value=10**7)


@given(
    use=st.builds(
        PrefixUse,
        counts=st.builds(
            PrefixCounts,
            prefix=st.just("book"),
            hits=counts,
            misses=counts,
            sets=counts,
            deletes=counts,
            computes=counts,
            compute_microseconds=counts,
            ending_sets=counts,
            ttl_seconds=counts,
        ),
        days=st.integers(min_value=1, max_value=31),
        stored=st.none()
        | st.builds(StoredKeys, counts, counts, st.none() | counts, st.floats(0, 1)),
        evicted_keys=counts,
    )
)
def test_whatever_was_counted_there_is_one_sentence_and_never_a_verdict_on_too_little(
    use: PrefixUse,
) -> None:
    verdict = judge(use, Thresholds())
    assert verdict.reason.endswith(".")
    assert "None" not in verdict.reason
    if use.days < 7 or max(use.counts.reads, use.counts.sets) < 1000:
        assert verdict.advice is Advice.WITHHELD
    if use.counts.hits == 0 and use.counts.sets >= 1000 and use.days >= 7:
        assert verdict.advice is Advice.DROP
    assert to_row(use, verdict)["advice"] == verdict.advice.value
