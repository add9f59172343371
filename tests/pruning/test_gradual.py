"""Gradual pruning under Trainer: the budget is met, the optimizer follows, training goes on."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY_MODELS, batch_for, plan_from
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from headsmith.errors import BudgetError, DataError, HeadsmithError
from headsmith.pruning import GradualPruning, apply_plan, describe, plan_of
from headsmith.pruning.gradual import fraction_at
from headsmith.pruning.reoptimize import follow_plan, origins
from headsmith.spec.cost import total_flops, total_parameters
from headsmith.spec.plan import BlockPlan, PrunePlan

LENGTH = 8


def _plan(model: nn.Module) -> PrunePlan:
    """Single heads and every third neuron stay; the first attention block goes whole."""
    plan = plan_from(model, lambda count: list(range(1, count, 3)))
    first = describe(model).blocks[0]
    return PrunePlan(
        plan.model_type, {**plan.blocks, first.name: BlockPlan(first.kind, first.count, ())}
    )


@given(
    first=st.integers(0, 50),
    length=st.integers(1, 100),
    final=st.floats(0.01, 1),
    schedule=st.sampled_from(["cubic", "linear"]),
)
def test_schedules_fall_from_all_to_the_budget(
    first: int, length: int, final: float, schedule: Any
) -> None:
    last = first + length
    values = [
        fraction_at(s, first=first, last=last, final=final, schedule=schedule)
        for s in range(last + 5)
    ]
    assert values[: first + 1] == pytest.approx([1.0] * (first + 1))
    assert values[last:] == [final] * 5
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values))


def test_the_cubic_schedule_is_that_of_the_paper() -> None:
    """Sparsity s_t = s_f + (s_i − s_f)(1 − (t − t_0) / nΔt)³ of Zhu and Gupta, s_i = 0."""
    for step in range(11):
        sparsity = 0.8 - 0.8 * (1 - step / 10) ** 3
        assert fraction_at(step, first=0, last=10, final=0.2) == pytest.approx(1 - sparsity)


def _optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=1e-3, amsgrad=True)
    if kind == "adafactor":
        return torch.optim.Adafactor(groups, lr=1e-3)
    return torch.optim.SGD(groups, lr=1e-3, momentum=0.9)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    output = model(**batch_for(model, seed=seed))
    loss = sum(v.float().square().mean() for v in output.values() if isinstance(v, torch.Tensor))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_state_is_sliced_as_the_parameters_are(family: str, kind: str) -> None:
    """Put the state where the weights are: surgery on both must agree."""
    model = TINY_MODELS[family]()
    optimizer = _optimizer(kind, model)
    for seed in range(3):
        _step(model, optimizer, seed)
    plan = _plan(model)
    name = "exp_avg_sq" if kind == "adamw" else "momentum_buffer"
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for own, other in zip(model.parameters(), twin.parameters(), strict=True):
            other.copy_(optimizer.state[own][name] if own in optimizer.state else 0.0)
    apply_plan(twin, plan)
    with follow_plan(model, plan, optimizer):
        apply_plan(model, plan)
    grouped = {p for group in optimizer.param_groups for p in group["params"]}
    assert grouped == set(model.parameters())
    assert set(optimizer.state) <= grouped
    for (path, own), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if own in optimizer.state:
            assert torch.equal(optimizer.state[own][name], other), path
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.01, 0.0]
    before = {n: p.clone() for n, p in model.named_parameters()}
    _step(model, optimizer, 9)
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    writer = describe(model).blocks[-1].writer
    assert any(writer in name for name in moved)


def test_state_of_another_shape_begins_anew() -> None:
    model = TINY_MODELS["bert"]()
    optimizer = _optimizer("adafactor", model)
    _step(model, optimizer, 0)
    plan = plan_from(model, lambda count: list(range(1, count, 3)))
    cut = origins(model, plan)
    with follow_plan(model, plan, optimizer):
        apply_plan(model, plan)
    for path, parameter in model.named_parameters():
        # torch's Adafactor keeps a row and a column of a matrix, and all of a vector.
        if path in cut:
            assert bool(optimizer.state.get(parameter)) == (parameter.ndim == 1), path
    _step(model, optimizer, 1)


def test_origins_change_nothing() -> None:
    model = TINY_MODELS["gpt2"]()
    before = {n: p.clone() for n, p in model.named_parameters()}
    plan = _plan(model)
    found = origins(model, plan)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert plan_of(model) is None
    apply_plan(model, plan)
    for name, places in found.items():
        assert torch.equal(model.get_parameter(name), before[name].flatten()[places])


class _Watch(TrainerCallback):
    """After each step: the size of the model, and that the optimizer's state fits it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        self.sizes.append(total_flops(describe(model).shapes, LENGTH))
        own = set(model.parameters())
        assert {p for g in optimizer.param_groups for p in g["params"]} == own
        for parameter, values in optimizer.state.items():
            assert parameter in own
            assert values["exp_avg"].shape == parameter.shape
        assert model.training


def _task() -> list[dict[str, torch.Tensor]]:
    """Which of two words comes in a sequence."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for number in range(192):
        ids = torch.randint(5, 40, (LENGTH,), generator=generator)
        ids[number % LENGTH] = 3 + number % 2
        examples.append(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": torch.tensor(number % 2),
            }
        )
    return examples


def _model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=40,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
        )
    )


def _arguments(folder: Path, steps: int = 60, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"save_strategy": "no", **options},
    )


@pytest.mark.filterwarnings("ignore")  # of Trainer's own
@pytest.mark.parametrize(
    ("budget", "options"),
    [
        ({"flops": 0.5}, {}),
        ({"params": 0.4}, {"schedule": "linear", "objective": "match", "repair": False}),
    ],
)
def test_fine_tuning_meets_the_budget_and_learns(
    tmp_path: Path, budget: dict[str, float], options: dict[str, Any]
) -> None:
    model, data, watch = _model(), _task(), _Watch()
    shapes = describe(model).shapes
    callback = GradualPruning(**budget, length=LENGTH, batches=3, every=6, **options)
    trainer = Trainer(
        model,
        _arguments(tmp_path, save_strategy="steps", save_steps=30),
        train_dataset=data,
        callbacks=[callback, watch],
    )
    trainer.train()
    left = describe(model).shapes
    if "flops" in budget:
        kept = total_flops(left, LENGTH) / total_flops(shapes, LENGTH)
    else:
        kept = total_parameters(left) / total_parameters(shapes)
    (final,) = budget.values()
    assert 0.9 * final < kept <= final
    assert callback.history[-1]["kept"] == pytest.approx(kept)
    steps = [cut["step"] for cut in callback.history]
    # Sizes are whole heads: one cut may have reached what a later one was to reach.
    assert len(steps) >= 3
    assert set(steps) <= {12, 18, 24, 30, 36, 42}
    assert watch.sizes[:11] == watch.sizes[:1] * 11
    assert watch.sizes[-18:] == watch.sizes[-1:] * 18
    assert sorted(watch.sizes, reverse=True) == watch.sizes
    assert trainer.evaluate(data)["eval_loss"] < 0.3  # of 0.69 by chance
    # Checkpoints of the middle and of the end open as they are.
    for step, size in ((30, watch.sizes[29]), (60, watch.sizes[-1])):
        opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / f"checkpoint-{step}")
        assert total_flops(describe(opened).shapes, LENGTH) == size
    batch = {k: torch.stack([e[k] for e in data[:4]]) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(opened.eval()(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.skipif(
    transformers.__version__.startswith("5.0."),
    reason="Trainer itself goes on with other numbers there, pruning or not",
)
@pytest.mark.filterwarnings("ignore")
def test_training_resumes_where_it_was(tmp_path: Path) -> None:
    data = _task()
    callback = GradualPruning(flops=0.5, length=LENGTH, batches=2, every=5, end=0.8)
    options = {"save_strategy": "steps", "save_steps": 15}
    whole = Trainer(_model(), _arguments(tmp_path, 30, **options), train_dataset=data)
    whole.add_callback(callback)
    whole.train()
    steps = [cut["step"] for cut in callback.history]
    assert steps[0] == 8  # before the checkpoint
    assert steps[-1] >= 18  # and after it
    checkpoint = tmp_path / "checkpoint-15"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    again = GradualPruning(flops=0.5, length=LENGTH, batches=2, every=5, end=0.8)
    resumed = Trainer(model, _arguments(tmp_path / "again", 30, **options), train_dataset=data)
    resumed.add_callback(again)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert again.history == callback.history
    for name, parameter in resumed.model.named_parameters():
        assert torch.allclose(parameter, whole.model.get_parameter(name), atol=1e-5), name


def test_a_cut_leaves_training_its_random_numbers_and_its_forward() -> None:
    model, loader = _model(), DataLoader(_task(), batch_size=8, shuffle=True)  # type: ignore[arg-type]
    optimizer = _optimizer("adamw", model)

    def forward(*args: Any, **kwargs: Any) -> Any:  # as Accelerate sets for 16-bit training
        raise AssertionError("deciding what to cut runs the model's own forward")

    model.forward = forward  # type: ignore[method-assign]
    before = torch.get_rng_state()
    GradualPruning(flops=0.5, batches=2)._cut(model, optimizer, loader, 0.7, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.forward is forward
    assert plan_of(model) is not None


@pytest.mark.filterwarnings("ignore")
def test_training_that_ends_early_is_told(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 4

    trainer = Trainer(
        _model(),
        _arguments(tmp_path, 20),
        train_dataset=_task(),
        callbacks=[GradualPruning(flops=0.5, length=LENGTH, batches=1), Stop()],
    )
    with pytest.warns(UserWarning, match="before pruning did: .* not 50%"):
        trainer.train()


@pytest.mark.filterwarnings("ignore")
def test_a_loss_needs_labels(tmp_path: Path) -> None:
    callback = GradualPruning(flops=0.5)
    with pytest.raises(DataError, match="objective='match', which needs none"):
        callback._objective(_model(), [{"input_ids": torch.ones(1, 1)}])


def test_several_processes_are_refused() -> None:
    class Arguments:
        world_size = 2

    with pytest.raises(HeadsmithError, match=r"works in one process\. Received 2"):
        GradualPruning(flops=0.5).on_train_begin(Arguments(), None, None, model=None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, BudgetError, "one budget"),
        ({"flops": 0.5, "params": 0.5}, BudgetError, "one budget"),
        ({"flops": 0.0}, BudgetError, "above 0 and at most 1"),
        ({"params": 2.0}, BudgetError, "params is the fraction to keep"),
        ({"flops": 0.5, "schedule": "steep"}, ValueError, "'cubic' or 'linear'"),
        ({"flops": 0.5, "begin": 0.8}, ValueError, "Received 0.8 and 0.7"),
        ({"flops": 0.5, "every": 0}, ValueError, "1 or more"),
        ({"flops": 0.5, "batches": 0}, ValueError, "1 or more"),
        ({"flops": 0.5, "length": 0}, ValueError, "1 or more"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GradualPruning(**options)
