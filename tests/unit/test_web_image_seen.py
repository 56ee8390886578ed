"""Which files were looked at, in a few bytes each."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from maintenance.web.images.seen import Fingerprints, fingerprint


@given(st.lists(st.integers(0, 2**40 - 1)))
def test_what_is_packed_comes_back(numbers: list[int]) -> None:
    packed = Fingerprints.unpacked(Fingerprints(numbers).packed())
    assert len(packed) == len(set(numbers))
    assert all(number in packed for number in numbers)
    assert [packed.index(number) for number in sorted(set(numbers))] == list(range(len(packed)))
    assert (2**40) not in packed


@given(st.text(max_size=40))
def test_a_text_of_somebody_else_is_an_empty_set(text: str) -> None:
    assert len(Fingerprints.unpacked(text)) >= 0


def test_name_size_and_time_each_make_another_file() -> None:
    numbers = {
        fingerprint(name, size, time) for name in ("a", "b", "🖼️") for size in (1, 2) for time in (3, 4)
    }  # fmt: skip
    assert len(numbers) == 12
    assert all(0 <= number < 2**40 for number in numbers)


def test_a_hundred_thousand_files_take_half_a_megabyte_of_state() -> None:
    numbers = [fingerprint(str(n), n, n) for n in range(100_000)]
    tracemalloc.start()
    files = Fingerprints(numbers)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
    assert len(files.packed()) < 500_000
    more = files.with_more([1, 2])
    assert len(more) == len(files) + 2
