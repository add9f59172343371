import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headsmith.torch import find_pruneable_heads_and_indices


@pytest.mark.golden("torch_find_pruneable_heads_and_indices")
def test_as_in_transformers_4_34(case, golden):
    args = case["args"]
    if any(head < 0 for head in args[0]):
        # Mended: a negative head silently removed another one.
        with pytest.raises(ValueError, match=r"Received: \[-1\]"):
            find_pruneable_heads_and_indices(*args)
        return
    if isinstance(args[3], list):
        # Mended: pruned heads may be given as a list.
        assert case["raises"]["type"] == "TypeError"
        heads, index = find_pruneable_heads_and_indices(*args)
        assert (heads, index.tolist()) == ({1}, [2, 3, 4, 5, 6, 7])
        return
    if "raises" in case:
        with pytest.raises(ValueError, match=r"Received: \[4\]") as raised:
            find_pruneable_heads_and_indices(*args)
        golden.assert_raised(raised.value, case["raises"])
        return
    heads, index = find_pruneable_heads_and_indices(*args)
    expected_heads, expected_index = case["outputs"]
    assert heads == expected_heads
    assert isinstance(heads, set)
    assert index.dtype == torch.int64
    assert index.tolist() == expected_index.values.tolist()


def by_mask(heads, n_heads, head_size, gone):
    """The plain way: give every feature the number its head was born with, and look."""
    born = [head for head in range(n_heads + len(gone)) if head not in gone]
    owners = [head for head in born for _ in range(head_size)]
    return [feature for feature, owner in enumerate(owners) if owner not in heads]


@given(st.integers(1, 10), st.integers(0, 4), st.data())
def test_indices_are_the_features_whose_head_stays(born, head_size, data):
    numbers = st.sets(st.integers(0, born - 1))
    gone, heads = data.draw(numbers), data.draw(numbers)
    n_heads = born - len(gone)

    fresh, index = find_pruneable_heads_and_indices(heads, n_heads, head_size, gone)

    assert fresh == heads - gone
    assert index.tolist() == by_mask(heads, n_heads, head_size, gone)


@given(st.integers(1, 10), st.data())
def test_order_and_repetition_of_the_heads_do_not_matter(n_heads, data):
    heads = data.draw(st.lists(st.integers(0, n_heads - 1)))
    shuffled = data.draw(st.permutations(heads + heads[:1]))

    one = find_pruneable_heads_and_indices(heads, n_heads, 3, set())
    other = find_pruneable_heads_and_indices(shuffled, n_heads, 3, set())

    assert one[0] == other[0]
    assert torch.equal(one[1], other[1])


@given(st.integers(1, 10), st.data())
def test_pruning_twice_is_pruning_once(n_heads, data):
    numbers = st.sets(st.integers(0, n_heads - 1))
    first, second = data.draw(numbers), data.draw(numbers)

    pruned, kept = find_pruneable_heads_and_indices(first, n_heads, 3, set())
    left = n_heads - len(pruned)
    _, kept_of_kept = find_pruneable_heads_and_indices(second, left, 3, pruned)
    _, kept_at_once = find_pruneable_heads_and_indices(first | second, n_heads, 3, set())

    assert torch.equal(kept[kept_of_kept], kept_at_once)


def test_indices_have_values_under_a_meta_default_device():
    with torch.device("meta"):
        _, index = find_pruneable_heads_and_indices([0], 2, 2, set())

    assert index.tolist() == [2, 3]


def test_heads_may_be_the_elements_of_a_tensor():
    assert find_pruneable_heads_and_indices(torch.tensor([1, 0]), 2, 2, set())[0] == {0, 1}


def test_a_head_that_does_not_exist_is_told_as_such():
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the message is compared whole)
        find_pruneable_heads_and_indices([1, -3], 4, 2, set())
    assert str(raised.value) == (
        "Expected heads of a layer with 4 heads. Received: [-3] among [-3, 1]. "
        "Heads are numbered from 0, as in the layer before any were pruned."
    )
