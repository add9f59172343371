"""Surgery: carry out a plan on a model, for good.

The law: a cut model's outputs equal those of the same model with the plan's masks.
"""

from __future__ import annotations

from collections.abc import Container
from typing import cast

import torch
from torch import nn

from headsmith.errors import PlanError
from headsmith.pruning.families import Block, Description, describe
from headsmith.pruning.families.stack import find, has
from headsmith.pruning.no_heads import NoHeads
from headsmith.pruning.projections import bias, can_be_cut, is_transposed, sizes
from headsmith.pruning.record import record_plan
from headsmith.spec.geometry import group_indices, layout_indices
from headsmith.spec.plan import BlockPlan, PrunePlan
from headsmith.torch import Conv1D, prune_layer
from headsmith.torch.take import take_features

__all__ = ["apply_plan", "check_layers", "check_plan", "cut", "plan_of_heads", "self_attention"]


def apply_plan(model: nn.Module, plan: PrunePlan) -> None:
    """Remove what `plan` does not keep from `model`, in place, and note it in the config.

    Weights, dtypes, devices and `requires_grad` of what stays are kept. A model pruned before
    can be pruned again; the config then holds both plans as one. An empty plan changes nothing.

    Args:
        model: a model of a known family, dense or pruned before.
        plan: made for this model as it is now.

    Raises:
        PlanError: the plan is for another model, or a layer to be cut is wrapped by an adapter
            or quantized; nothing has been changed then.
        UnknownFamilyError: no family describes the model.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith import PrunePlan
        >>> from headsmith.pruning import apply_plan
        >>> from headsmith.spec.plan import BlockPlan
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = BertModel(config)
        >>> plan = PrunePlan("bert", {"encoder.layer.0.attention": BlockPlan("heads", 2, (1,))})
        >>> apply_plan(model, plan)
        >>> model.encoder.layer[0].attention.self.query
        Linear(in_features=8, out_features=4, bias=True)
    """
    description = describe(model)
    check_plan(plan, description)
    if plan.is_empty:
        return
    record_plan(model, plan, description)
    cut(description, plan)


def check_plan(plan: PrunePlan, description: Description) -> None:
    """Raise a `PlanError` unless `plan` was made for a model described so.

    Args:
        plan: the plan to check.
        description: what `describe` says of the model.
    """
    if plan.model_type != description.model_type:
        raise PlanError(
            f"The plan is for a model of type {plan.model_type!r}; this one is "
            f"{description.model_type!r}. Make a plan for this model with headsmith prune."
        )
    blocks = {b.name: b for b in description.blocks}
    for name, planned in plan.blocks.items():
        if name not in blocks:
            raise PlanError(
                f"The plan names the block {name!r}, which this model does not have "
                f"(it has {len(blocks)}, the last {list(blocks)[-1]!r})."
            )
        block = blocks[name]
        if (planned.kind, planned.count) != (block.kind, block.count):
            raise PlanError(
                f"{name}: the plan is for {planned.count} {planned.kind}, the model has "
                f"{block.count} {block.kind}. It was made for another model, or for this one "
                "before it was pruned."
            )
        if len(planned.kept) < block.shape.least:
            raise PlanError(
                f"{name}: {block.shape.least} of the {block.kind} have to stay, for this model's "
                f"code cannot do without any. The plan keeps {len(planned.kept)}."
            )
    check_layers(description, plan.blocks)


def check_layers(description: Description, names: Container[str] | None = None) -> None:
    """Raise a `PlanError` unless the layers of all blocks, or of those named, can be cut.

    Args:
        description: what `describe` says of the model.
        names: names of blocks; None is all.
    """
    for block in description.blocks:
        if not block.count or not (names is None or block.name in names):
            continue
        for path in (*(r.path for r in block.readers), block.writer):
            layer = find(description.base, path)
            if not isinstance(layer, torch.Tensor) and not can_be_cut(layer):
                raise PlanError(
                    f"{path}: expected a linear layer with a floating-point weight of its own and "
                    f"no more than a bias. Received {type(layer).__module__}."
                    f"{type(layer).__qualname__}. Merge adapters into the weights first (PEFT: "
                    "merge_and_unload()), dequantize the model, or make reparametrized weights "
                    "permanent."
                )


def cut(description: Description, plan: PrunePlan) -> None:
    """Carry out a checked plan without noting it anywhere.

    Args:
        description: of the model to cut; its base model is changed in place.
        plan: a plan that `check_plan` accepts.
    """
    for block in description.blocks:
        if block.name in plan.blocks:
            _cut_block(description.base, block, plan.blocks[block.name])


def _cut_block(base: nn.Module, block: Block, planned: BlockPlan) -> None:
    for reader in block.readers:
        rows = layout_indices(planned.kept, reader.widths, count=block.count)
        _replace(base, reader.path, torch.from_numpy(rows), outputs=True)
    columns = group_indices(planned.kept, block.width, count=block.count)
    _replace(base, block.writer, torch.from_numpy(columns), outputs=False)
    if planned.kept or not block.site.hollow:
        _settle(base, block, len(planned.kept))
    if not planned.kept:
        _settle_empty(base, block)
    if block.site.settle is not None:
        block.site.settle(base.get_submodule(block.layer), block, planned.kept)


def _settle(base: nn.Module, block: Block, left: int) -> None:
    settled = {"count": left, "heads": left, "features": left * block.width}
    if block.site.shared_by:
        settled["heads"] *= int(cast(int, find(base, f"{block.layer}.{block.site.shared_by}")))
    for path, value in block.site.attributes.items():
        owner, _, attribute = f"{block.layer}.{path}".rpartition(".")
        # An attribute that this version of Transformers does not have is not invented.
        if has(base, f"{block.layer}.{path}"):
            setattr(base.get_submodule(owner), attribute, settled[value])


def _replace(base: nn.Module, path: str, index: torch.Tensor, *, outputs: bool) -> None:
    old = find(base, path)
    owner, _, name = path.rpartition(".")
    if isinstance(old, torch.Tensor):
        rows = take_features(old.detach(), 0, index.to(old.device))
        own = nn.Parameter(rows, requires_grad=old.requires_grad)
        base.get_submodule(owner).register_parameter(name, own)
        return
    dim = int(is_transposed(old)) if outputs else int(not is_transposed(old))
    new = prune_layer(old, index, dim=dim)
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(old.get_parameter(name).requires_grad)
    base.set_submodule(path, new)


def _settle_empty(base: nn.Module, block: Block) -> None:
    writer = base.get_submodule(block.writer)
    if is_transposed(writer) and not isinstance(writer, Conv1D):
        # Transformers' Conv1D cannot take rows of width 0; ours can, with the same weights.
        writer = _as_our_conv1d(writer)
        base.set_submodule(block.writer, writer)
    if not block.site.hollow:
        return
    path = f"{block.layer}.{block.site.hollow}"
    old = base.get_submodule(path)
    layer_idx = cast("int | None", getattr(old, "layer_idx", None))
    inside = block.writer.startswith(path + ".")
    stand_in = (
        NoHeads(writer, block.writer.removeprefix(path + "."), layer_idx, cross=block.site.cross)
        if inside
        else NoHeads(layer_idx=layer_idx, cross=block.site.cross)
    )
    base.set_submodule(path, stand_in.train(old.training))


def _as_our_conv1d(layer: nn.Module) -> Conv1D:
    inputs, outputs = sizes(layer)
    own_bias = bias(layer)
    with torch.device("meta"):
        new = Conv1D(outputs, inputs)
    new.weight = cast(nn.Parameter, layer.weight)
    if own_bias is not None:
        new.bias = cast(nn.Parameter, layer.bias)
    return new.train(layer.training)


def self_attention(description: Description) -> dict[int, Block]:
    """The layers' self-attention: layer → block, in the order they run.

    Args:
        description: what `describe` says of a model.
    """
    found: dict[int, Block] = {}
    for block in description.blocks:
        if block.kind == "heads" and not block.site.cross:
            found.setdefault(block.layer_index, block)
    return found


def plan_of_heads(model: nn.Module, heads: dict[int, list[int]]) -> PrunePlan:
    """A plan that removes `heads`, told as layer index → head indices as in Transformers 4.

    Args:
        model: the model the plan is for.
        heads: layer index from 0 → indices of heads to remove.

    Raises:
        PlanError: a layer or head does not exist.
    """
    description = describe(model)
    attention = self_attention(description)
    blocks = {}
    for layer, gone in heads.items():
        if layer not in attention:
            raise PlanError(f"There is no layer {layer!r}: the model has {len(attention)} layers.")
        block = attention[layer]
        wrong = [h for h in gone if not 0 <= h < block.count]
        if wrong:
            raise PlanError(f"Layer {layer} has heads 0 to {block.count - 1}. Received {wrong}.")
        kept = tuple(h for h in range(block.count) if h not in set(gone))
        blocks[block.name] = BlockPlan("heads", block.count, kept)
    return PrunePlan(description.model_type, blocks)
