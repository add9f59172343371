"""Search against trying every combination."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.errors import BudgetError
from headsmith.pruning.budget import Floors
from headsmith.pruning.search import allocate, choices
from headsmith.pruning.sensitivity import Sensitivity
from headsmith.spec.cost import BlockShape


def _shape(name: str, count: int, weights: int) -> BlockShape:
    return BlockShape(name, "heads", count, 2, weights, weights)


def _cost(shape: BlockShape, kept: int) -> float:
    return shape.parameters(kept)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.integers(1, 9),
            st.lists(st.floats(1e-6, 10), min_size=4, max_size=4),
        ),
        min_size=1,
        max_size=3,
    ),
    st.floats(0.05, 1),
)
def test_no_combination_within_the_budget_is_better(
    blocks: list[tuple[int, int, list[float]]], fraction: float
) -> None:
    shapes = [_shape(f"b{i}", count, weights) for i, (count, weights, _) in enumerate(blocks)]
    sensitivities = {
        shape.name: Sensitivity(
            tuple(range(shape.count + 1)),
            (*sorted(errors, reverse=True)[: shape.count], 0.0),
        )
        for shape, (_, _, errors) in zip(shapes, blocks, strict=True)
    }
    budget = fraction * sum(s.parameters() for s in shapes)
    kept = allocate(shapes, sensitivities, _cost, budget)
    assert sum(_cost(s, kept[s.name]) for s in shapes) <= budget * (1 + 1e-9)

    def error(sizes: tuple[int, ...]) -> float:
        return sum(
            float(sensitivities[s.name].at([k])[0]) for s, k in zip(shapes, sizes, strict=True)
        )

    # The program rounds costs up by a part in 4000 each: compare with a budget that much less.
    reachable = [
        sizes
        for sizes in itertools.product(*(range(s.count + 1) for s in shapes))
        if sum(_cost(s, k) for s, k in zip(shapes, sizes, strict=True))
        <= budget * (1 - len(shapes) / 4000)
    ]
    best = min((error(sizes) for sizes in reachable), default=np.inf)
    assert error(tuple(kept[s.name] for s in shapes)) <= best * (1 + 1e-9)


def test_everything_is_kept_when_everything_is_allowed() -> None:
    shapes = [_shape("a", 3, 5), _shape("b", 4, 7)]
    tables = {"a": Sensitivity((0, 3), (1.0, 0.0)), "b": Sensitivity((0, 4), (1.0, 0.0))}
    budget = sum(s.parameters() for s in shapes)
    assert allocate(shapes, tables, _cost, budget) == {"a": 3, "b": 4}


def test_a_budget_that_cannot_be_met_is_an_error() -> None:
    with pytest.raises(BudgetError, match="No plan meets"):
        allocate([_shape("a", 3, 5)], {"a": Sensitivity((0, 3), (1.0, 0.0))}, lambda s, k: 9, 1)


def test_choices_are_sizes_that_kernels_like() -> None:
    assert choices(12, "heads") == list(range(13))
    assert choices(1536, "neurons")[:3] == [0, 32, 64]
    assert choices(1536, "neurons")[-1] == 1536
    assert choices(1000, "neurons")[-2:] == [992, 1000]
    assert choices(5, "neurons") == [0, 1, 2, 3, 4, 5]
    assert choices(0, "heads") == [0]


def test_interpolation_is_monotone_and_exact_where_measured() -> None:
    table = Sensitivity((0, 4, 8, 16), (1.0, 0.01, 0.02, 0.0))
    got = table.at(range(17))
    assert np.all(np.diff(got) <= 1e-15)
    assert got[0] == pytest.approx(1.0)
    assert got[8] == pytest.approx(0.02)
    assert got[4] == pytest.approx(0.02)  # noise: four cannot be better than eight
    assert got[16] == 0


def test_floors_are_kept_to_and_may_exceed_a_block() -> None:
    shapes = [_shape("a", 3, 5), _shape("b", 6, 7)]
    tables = {"a": Sensitivity((0, 3), (1e-9, 0.0)), "b": Sensitivity((0, 6), (1.0, 0.0))}
    budget = 0.6 * sum(s.parameters() for s in shapes)
    assert allocate(shapes, tables, _cost, budget)["a"] < 2
    kept = allocate(shapes, tables, _cost, budget, Floors(heads=2))
    assert kept["a"] == 2
    assert 2 <= kept["b"] < 6
    with pytest.raises(BudgetError, match="No plan meets"):
        allocate(shapes, tables, _cost, budget, Floors(heads=99))


def test_floors_are_among_the_choices() -> None:
    assert choices(1536, "neurons", 100)[:3] == [100, 128, 160]
    assert choices(12, "heads", 3) == list(range(3, 13))
