import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.spec.geometry import group_indices, layout_indices, owners, surviving_heads


@st.composite
def kept_groups(draw):
    """(kept, count): some of `count` groups, in any order."""
    count = draw(st.integers(0, 12))
    kept = draw(st.lists(st.integers(0, max(count - 1, 0)), unique=True, max_size=count))
    return kept, count


class TestGroupIndices:
    @pytest.mark.parametrize(
        ("kept", "width", "count", "parts", "expected"),
        [
            ([0, 2], 2, 3, 1, [0, 1, 4, 5]),
            ([2, 0], 2, 3, 1, [4, 5, 0, 1]),
            ([1], 2, 2, 3, [2, 3, 6, 7, 10, 11]),
            ([0, 2], 1, 3, 2, [0, 2, 3, 5]),
            ([], 4, 3, 3, []),
            ([0, 1], 0, 2, 1, []),
        ],
    )
    def test_cases(self, kept, width, count, parts, expected):
        got = group_indices(kept, width, count=count, parts=parts)

        assert got.dtype == np.int64
        assert got.tolist() == expected

    @given(kept_groups(), st.integers(0, 5), st.integers(1, 3))
    def test_the_features_are_those_a_mask_laid_out_group_by_group_selects(
        self, groups, width, parts
    ):
        kept, count = groups
        mask = np.zeros((parts, count, width), dtype=bool)
        mask[:, kept] = True

        got = group_indices(sorted(kept), width, count=count, parts=parts)

        assert got.tolist() == np.flatnonzero(mask).tolist()

    @given(kept_groups(), st.integers(0, 5), st.integers(1, 3))
    def test_the_order_of_the_groups_orders_the_features_and_changes_none(
        self, groups, width, parts
    ):
        kept, count = groups
        given_order = group_indices(kept, width, count=count, parts=parts)
        ascending = group_indices(sorted(kept), width, count=count, parts=parts)

        assert sorted(given_order.tolist()) == ascending.tolist()

    def test_numpy_integers_will_do(self):
        assert group_indices(np.array([1]), 2, count=2).tolist() == [2, 3]

    @pytest.mark.parametrize("kept", [[0, 4], [-1]])
    def test_a_group_out_of_range_is_named(self, kept):
        with pytest.raises(
            ValueError, match=rf"with 4, numbered from 0\. Received: \[{kept[-1]}\]"
        ):
            group_indices(kept, 2, count=4)

    def test_a_group_named_twice_is_named(self):
        with pytest.raises(
            ValueError, match=r"each kept group once\. Received: \[2\] more than once"
        ):
            group_indices([2, 0, 2], 2, count=4)

    def test_a_group_is_an_integer(self):
        with pytest.raises(TypeError):
            group_indices([1.0], 2, count=4)

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ({"width": -1, "count": 2}, "width to be at least 0. Received: -1"),
            ({"width": 1, "count": -2}, "count to be at least 0. Received: -2"),
            ({"width": 1, "count": 2, "parts": 0}, "parts to be at least 1. Received: 0"),
        ],
    )
    def test_an_impossible_size_is_named(self, sizes, message):
        with pytest.raises(ValueError, match=message):
            group_indices([], **sizes)


class TestSurvivingHeads:
    @pytest.mark.parametrize(
        ("heads", "n_heads", "gone", "fresh", "kept"),
        [
            ([0], 4, [], {0}, [1, 2, 3]),
            ({1, 3}, 4, set(), {1, 3}, [0, 2]),
            ([1, 5, 6], 5, {0, 3, 4}, {1, 5, 6}, [1, 4]),
            ([0, 2], 3, [0], {2}, [0, 2]),
            ([1, 1], 2, (), {1}, [0]),
            ([], 0, [0, 1], set(), []),
        ],
    )
    def test_cases(self, heads, n_heads, gone, fresh, kept):
        assert surviving_heads(heads, n_heads, gone) == (fresh, kept)

    @given(st.integers(1, 12), st.data())
    def test_the_survivors_are_those_neither_asked_for_nor_gone(self, born, data):
        numbers = st.lists(st.integers(0, born - 1))
        gone, heads = set(data.draw(numbers)), data.draw(numbers)

        fresh, kept = surviving_heads(heads, born - len(gone), gone)

        present = [head for head in range(born) if head not in gone]
        assert fresh == set(heads) - gone
        assert [present[position] for position in kept] == sorted(set(present) - set(heads))

    @pytest.mark.parametrize("heads", [[1, -3], [4], [0, 7]])
    def test_a_head_that_does_not_exist_is_named(self, heads):
        with pytest.raises(ValueError, match=rf"Received: \[{heads[-1]}\] among") as raised:
            surviving_heads(heads, 4)
        assert "numbered from 0" in str(raised.value)

    def test_a_head_beyond_those_left_is_named(self):
        with pytest.raises(ValueError, match=r"3 heads left after \[0\] were pruned"):
            surviving_heads([4], 3, [0])

    def test_negative_pruned_heads_and_counts_are_refused(self):
        with pytest.raises(ValueError, match=r"already pruned heads to be at least 0"):
            surviving_heads([1], 3, [-1])
        with pytest.raises(ValueError, match=r"n_heads to be at least 0"):
            surviving_heads([], -1)

    def test_a_head_is_an_integer(self):
        with pytest.raises(TypeError):
            surviving_heads([0.0], 3)


@given(data=st.data(), count=st.integers(0, 6), widths=st.lists(st.integers(0, 4), max_size=4))
def test_uneven_parts_are_cut_as_a_slow_loop_would(
    data: st.DataObject, count: int, widths: list[int]
) -> None:
    kept = data.draw(st.lists(st.integers(0, count - 1), unique=True)) if count else []
    features = [
        (part, group) for part, w in enumerate(widths) for group in range(count) for _ in range(w)
    ]
    expected = [
        place
        for part in range(len(widths))
        for group in kept
        for place, own in enumerate(features)
        if own == (part, group)
    ]
    assert layout_indices(kept, widths, count=count).tolist() == expected
    assert owners(widths, count=count).tolist() == [group for _, group in features]
