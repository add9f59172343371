"""Models that no family describes: understood by structure, described by hand, or refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from headsmith import PrunePlan
from headsmith.errors import PlanError, UnknownFamilyError
from headsmith.pruning import (
    MatchHidden,
    apply_plan,
    describe,
    masked,
    masks_of,
    open_attention,
    output_error,
    prune,
    register_family,
    verify_family,
)
from headsmith.pruning.families import Family, LayerStack, Reader, Site
from headsmith.pruning.families import describe as describe_module
from headsmith.spec.plan import BlockPlan


class Attention(nn.Module):
    def __init__(self, shared: int = 1) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.num_key_value_groups = 4, 3, shared
        self.q_proj, self.o_proj = nn.Linear(12, 12), nn.Linear(12, 12)
        self.k_proj, self.v_proj = (nn.Linear(12, 12 // shared) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        assert q.shape[1] == self.n_heads
        k, v = (t.repeat_interleave(self.num_key_value_groups, 1) for t in (k, v))
        found = F.scaled_dot_product_attention(q, k, v)
        return self.o_proj(found.transpose(1, 2).flatten(2))


class Stubborn(Attention):
    """Reshapes by a number that nobody can see."""

    def forward(self, x: Tensor) -> Tensor:
        return self.o_proj(
            self.v_proj(x).reshape(len(x), -1, 12) + self.q_proj(x) * 0 + self.k_proj(x) * 0
        )


class Sneaky(Attention):
    """Mixes heads with a fixed permutation: cut, it runs and is wrong."""

    def forward(self, x: Tensor) -> Tensor:
        v = (self.v_proj(x) + self.q_proj(x) * self.k_proj(x)).flip(-1)
        return self.o_proj(v)


class Layer(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attn, self.norm1, self.norm2 = attention, nn.LayerNorm(12), nn.LayerNorm(12)
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Plain(nn.Module):
    """A transformer of somebody's own: no config, tensors in and out."""

    def __init__(self, kind: type[Attention] = Attention, **options: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.blocks = nn.ModuleList([Layer(kind(**options)) for _ in range(2)])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        return x


class Torchs(nn.Module):
    """torch's own encoder layers."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)


def _made(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model.double().eval()


def _batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 50, (8, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _rows(output: Tensor) -> Tensor:
    return output[_batch()["attention_mask"].bool()]


def _plan(model: nn.Module) -> PrunePlan:
    found = describe(model)
    blocks = {b.name: BlockPlan(b.kind, b.count, (0, b.count - 1)) for b in found.blocks}
    return PrunePlan(found.model_type, blocks)


@torch.no_grad()
def _cut_equals_masked(model: nn.Module) -> None:
    plan, batch = _plan(model), _batch()
    with masked(model, masks_of(model, plan)):
        expected = _rows(model(**batch))
    apply_plan(model, plan)
    torch.testing.assert_close(_rows(model(**batch)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shared", [1, 2])
def test_a_plain_module_is_understood_by_its_structure(shared: int) -> None:
    model = _made(Plain(shared=shared))
    found = describe(model)
    assert found.discovered
    assert found.model_type == "Plain"
    assert [(b.name, b.count) for b in found.blocks[:2]] == [
        ("blocks.0.attn", 4 // shared),
        ("blocks.0.mlp", 20),
    ]
    verify_family(model, _batch())
    _cut_equals_masked(model)
    assert model.blocks[0].attn.n_heads == 2 * shared


@pytest.mark.parametrize("build", [Plain, Torchs])
def test_the_whole_job_on_models_without_a_config(build: type[nn.Module]) -> None:
    model = _made(build())
    open_attention(model)
    data = [_batch(i) for i in range(8)]
    result = prune(model, data, flops=0.6, length=7)
    cut = copy.deepcopy(result.dense)
    apply_plan(cut, result.plan)
    errors = [output_error(result.dense, m, data, MatchHidden()) for m in (model, cut)]
    assert errors[0] < errors[1]
    # Another instance is cut by the plan and takes the weights.
    again = build().double().eval()
    open_attention(again)
    apply_plan(again, result.plan)
    again.load_state_dict(model.state_dict())
    assert torch.equal(_rows(again(**data[0])), _rows(model(**data[0])))


@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_own_attention_once_opened(norm_first: bool) -> None:
    model = _made(Torchs(norm_first=norm_first))
    batch = _batch()
    before = _rows(model(**batch))
    names = list(model.state_dict())
    with pytest.raises(UnknownFamilyError, match="open_attention"):
        describe(model)
    assert open_attention(model) == 2
    assert open_attention(model) == 0
    assert list(model.state_dict()) == names
    torch.testing.assert_close(_rows(model(**batch)), before, rtol=1e-10, atol=1e-10)
    assert [b.count for b in describe(model).blocks] == [3, 20, 3, 20]
    _cut_equals_masked(model)
    none = {b.name: BlockPlan(b.kind, b.count, ()) for b in describe(model).blocks}
    plan = PrunePlan("Torchs", none)
    with torch.no_grad(), masked(model, masks_of(model, plan)):
        expected = _rows(model(**batch))
    apply_plan(model, plan)
    torch.testing.assert_close(_rows(model(**batch)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "heads", "padding"])
def test_an_opened_attention_is_torchs(batch_first: bool, need_weights: bool, mask: str) -> None:
    own = _made(nn.MultiheadAttention(12, 3, batch_first=batch_first))
    opened = copy.deepcopy(own)
    open_attention(opened)
    query, key = torch.randn(2, 5, 12).double(), torch.randn(2, 6, 12).double()
    options = {
        "none": {},
        "bool": {"attn_mask": torch.ones(5, 6).triu(2).bool()},
        "float": {"attn_mask": torch.randn(5, 6).double()},
        "heads": {"attn_mask": torch.randn(6, 5, 6).double()},
        "padding": {"key_padding_mask": torch.tensor([[False] * 6, [False] * 4 + [True] * 2])},
    }[mask]
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    for average in (True, False):
        more = {"need_weights": need_weights, "average_attn_weights": average, **options}
        got, expected = opened(query, key, key, **more), own(query, key, key, **more)
        torch.testing.assert_close(got[0], expected[0], rtol=1e-10, atol=1e-10)
        if need_weights:
            torch.testing.assert_close(got[1], expected[1], rtol=1e-10, atol=1e-10)
    alone = opened(query[:, 0], key[:, 0], key[:, 0]), own(query[:, 0], key[:, 0], key[:, 0])
    torch.testing.assert_close(alone[0], alone[1], rtol=1e-10, atol=1e-10)


def test_attention_that_cannot_be_opened() -> None:
    model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, kdim=4))
    with pytest.raises(ValueError, match=r"at '1'.*kdim"):
        open_attention(model)
    assert type(model[0]) is nn.MultiheadAttention


def test_the_last_head_of_an_attention_nobody_described_stays() -> None:
    model = _made(Plain())
    name = "blocks.0.attn"
    with pytest.raises(PlanError, match="1 of the heads have to stay"):
        apply_plan(model, PrunePlan("Plain", {name: BlockPlan("heads", 4, ())}))
    result = prune(model, [_batch(i) for i in range(4)], flops=0.16, length=7)
    assert all(b.count for b in describe(model).blocks if b.kind == "heads")
    assert result.plan.removed("heads") == 6


@pytest.mark.parametrize(
    ("kind", "message"), [(Stubborn, "the model fails"), (Sneaky, "does not give what it gives")]
)
def test_a_wrong_reading_is_noticed_before_anything_is_cut(
    kind: type[Attention], message: str
) -> None:
    model = _made(Plain(kind))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UnknownFamilyError, match=message):
        prune(model, [_batch(i) for i in range(4)], flops=0.5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_cannot_be_read_is_told_with_an_example() -> None:
    with pytest.raises(UnknownFamilyError, match=r"no list of like layers(.|\n)*register_family"):
        describe(nn.Linear(2, 2))
    model = Plain()
    for layer in model.blocks:
        del layer.attn.head_dim
    with pytest.raises(UnknownFamilyError, match="does not tell the size of a head"):
        describe(model)
    model = Plain()
    for layer in model.blocks:
        layer.attn.out_proj = nn.Linear(12, 12)
    with pytest.raises(UnknownFamilyError, match="2 output projections"):
        describe(model)
    model = Plain()
    for layer in model.blocks:
        layer.more = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
    with pytest.raises(UnknownFamilyError, match="more than one feed-forward block"):
        describe(model)
    model = Plain()
    model.blocks[1].mlp = nn.Identity()
    with pytest.raises(UnknownFamilyError, match=r"blocks\.1 has other blocks"):
        describe(model)


@pytest.fixture
def registered() -> Iterator[None]:
    known = describe_module.__globals__["_FAMILIES"]
    before = dict(known)
    yield
    known.clear()
    known.update(before)


@pytest.mark.usefixtures("registered")
def test_a_plain_module_is_described_in_a_few_lines() -> None:
    attention = Site(
        name="attn",
        readers=(Reader("attn.q_proj"), Reader("attn.k_proj"), Reader("attn.v_proj")),
        writer="attn.o_proj",
        residual="norm1",
        attributes={"attn.n_heads": "count"},
        head_size="attn.head_dim",
    )
    mlp = Site(name="mlp", readers=(Reader("mlp.0"),), writer="mlp.2", residual="norm2")
    register_family(Family(("Plain",), (LayerStack("blocks", (attention, mlp)),)))
    model = _made(Plain())
    assert not describe(model).discovered
    verify_family(model, _batch())
    _cut_equals_masked(model)
