"""PrunePlan: composition, JSON, and no way to smuggle anything in."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsmith.errors import PlanError
from headsmith.spec.plan import BlockPlan, PrunePlan, format_ranges, parse_ranges


@st.composite
def blocks(draw: st.DrawFn, count: int | None = None, kind: str | None = None) -> BlockPlan:
    count = draw(st.integers(0, 40)) if count is None else count
    kept = draw(st.sets(st.integers(0, count - 1))) if count else set()
    return BlockPlan(kind or draw(st.sampled_from(["heads", "neurons"])), count, tuple(kept))


@st.composite
def plans(draw: st.DrawFn) -> PrunePlan:
    names = draw(st.sets(st.sampled_from(["a", "a.0.b", "layer.1.x_y", "z9"])))
    return PrunePlan("bert", {name: draw(blocks()) for name in names})


@st.composite
def chains(draw: st.DrawFn) -> list[PrunePlan]:
    """Plans that may follow one another."""
    left = {name: draw(st.integers(1, 20)) for name in ("a", "b")}
    found = []
    for _ in range(3):
        plan = {}
        for name, count in left.items():
            block = draw(blocks(count, "heads"))
            plan[name] = block
            left[name] = len(block.kept)
        found.append(PrunePlan("bert", plan))
    return found


@given(plans())
def test_json_round_trip(plan: PrunePlan) -> None:
    assert PrunePlan.from_json(plan.to_json()) == plan
    assert PrunePlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert hash(PrunePlan.from_json(plan.to_json())) == hash(plan)
    assert copy.deepcopy(plan) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 - our own bytes, this moment


@given(chains())
def test_composition_is_associative_and_empty_is_its_unit(chain: list[PrunePlan]) -> None:
    one, two, three = chain
    assert one.then(two).then(three) == one.then(two.then(three))
    empty = PrunePlan("bert")
    assert empty.then(one) == one
    assert one.then(empty) == one
    assert empty.is_empty


@given(chains())
def test_composition_keeps_what_keeping_twice_keeps(chain: list[PrunePlan]) -> None:
    first, second, _ = chain
    whole = first.then(second)
    for name in ("a", "b"):
        count = next(
            (p.blocks[name].count for p in (first, whole) if name in p.blocks),
            second.blocks[name].count if name in second.blocks else 0,
        )
        groups = list(range(count))
        for plan in (first, second):
            if name in plan.blocks:
                groups = [groups[i] for i in plan.blocks[name].kept]
        kept = whole.blocks[name].kept if name in whole.blocks else tuple(range(count))
        assert list(kept) == groups


@given(st.sets(st.integers(0, 300)))
def test_ranges_round_trip(indices: set[int]) -> None:
    ordered = tuple(sorted(indices))
    assert parse_ranges(format_ranges(ordered), 301) == ordered


@given(st.text(max_size=30))
def test_any_text_is_a_plan_error_or_ascending(text: str) -> None:
    try:
        found = parse_ranges(text, 50)
    except PlanError:
        return
    assert all(0 <= i < 50 for i in found)
    assert list(found) == sorted(set(found))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    )
)
def test_any_json_is_a_plan_or_a_plan_error(data: Any) -> None:
    for candidate in (
        data,
        {"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": data},
        {"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": {"a": data}},
    ):
        try:
            PrunePlan.from_dict(candidate)
        except PlanError:
            continue


def test_removed_and_kept() -> None:
    block = BlockPlan("heads", 5, (3, 0))
    assert block.kept == (0, 3)
    assert block.removed == (1, 2, 4)
    plan = PrunePlan("bert", {"a": block, "b": BlockPlan("neurons", 4, (1,))})
    assert (plan.removed("heads"), plan.removed("neurons")) == (3, 3)


def test_blocks_that_keep_all_are_left_out() -> None:
    assert PrunePlan("bert", {"a": BlockPlan("heads", 2, (0, 1))}) == PrunePlan("bert")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("heads", 3, (3,)), r"integers in \[0, 3\)\. Received \[3\]"),
        (("heads", 3, (-1,)), r"Received \[-1\]"),
        (("heads", 3, (1, 1)), "must not repeat"),
        (("heads", 3, (True,)), r"Received \[True\]"),
        (("heads", 3, (1.0,)), r"Received \[1\.0\]"),
        (("feet", 3, ()), "'heads' or 'neurons'. Received 'feet'"),
        (("heads", -1, ()), "count is an integer from 0"),
        (("heads", 2**30, ()), "count is an integer from 0"),
    ],
)
def test_blocks_are_checked(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        BlockPlan(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", '"format": "headsmith-plan"'),
        ('{"format": "headsmith-plan", "version": 2}', "upgrade headsmith"),
        (
            '{"format": "headsmith-plan", "version": 1, "model_type": "", "blocks": {}}',
            "names its model type",
        ),
        (
            '{"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": '
            '{"a": {"kind": "heads", "count": 3, "kept": "2-1"}}}',
            "Block 'a': Kept indices must ascend",
        ),
        (
            '{"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": '
            '{"a": {"kind": "heads", "count": true, "kept": "0"}}}',
            "count is an integer",
        ),
        (
            '{"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": '
            '{"a": {"kind": "heads", "count": 3, "kept": [0]}}}',
            "kept \\(a text like",
        ),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        PrunePlan.from_json(text)


def test_plans_that_do_not_fit_each_other() -> None:
    plan = PrunePlan("bert", {"a": BlockPlan("heads", 4, (0, 1))})
    with pytest.raises(PlanError, match=r"a: the later plan is for 4 heads.*leaves 2 heads"):
        plan.then(plan)
    with pytest.raises(PlanError, match="'bert', then 'gpt2'"):
        plan.then(PrunePlan("gpt2"))


def test_too_many_blocks() -> None:
    one = BlockPlan("heads", 1, ())
    with pytest.raises(PlanError, match="at most 65536 blocks"):
        PrunePlan("bert", {f"b{i}": one for i in range(2**16 + 1)})


def test_a_short_file_cannot_fill_memory() -> None:
    # Each block alone is allowed; read one by one they would take gigabytes.
    block = {"kind": "neurons", "count": 2**24, "kept": f"1-{2**24 - 1}"}
    data = {
        "format": "headsmith-plan",
        "version": 1,
        "model_type": "bert",
        "blocks": {f"b{i}": block for i in range(100)},
    }
    with pytest.raises(PlanError, match=rf"at most {2**24} .* together\. Received {100 * 2**24}"):
        PrunePlan.from_dict(data)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BlockPlan("heads", 3, None), "sequence of integers. Received None"),
        (lambda: BlockPlan("heads", 3, 2), "sequence of integers. Received 2"),
        (lambda: PrunePlan("bert", {"a": (0, 1)}), r"a: expected a BlockPlan. Received \(0, 1\)"),
        (lambda: PrunePlan("bert", None), "mapping of block names.*Received None"),
        (lambda: PrunePlan("bert", []), "mapping of block names.*Received \\[\\]"),
    ],
)
def test_what_is_no_plan_at_all(build: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        build()
