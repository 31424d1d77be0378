"""How much of an interval a set covers is what counting letter by letter gives."""

from hypothesis import given
from hypothesis import strategies as st

from client.data.adapters.bed import Interval
from client.data.interval_sets import IntervalSet

INTERVALS = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 40), st.integers(1, 15)), max_size=12
)


@given(INTERVALS, st.integers(0, 40), st.integers(1, 30))
def test_covered_letters_are_those_of_a_loop(spans: list[tuple[str, int, int]], start: int, length: int) -> None:
    intervals = [Interval(1, chrom, begin, begin + size) for chrom, begin, size in spans]
    covered = {place for each in intervals if each.chrom == "chr1" for place in range(each.start, each.end)} & set(
        range(start, start + length)
    )
    assert IntervalSet(intervals).count_covered("chr1", start, start + length) == len(covered)
