"""Weights that native parts of a legacy model had under other names in Transformers 4.

Transformers 5 renames weights of a native part as it reads them, wherever the part stands. It
loses parts whose name only begins like `base_model_prefix`, such as `vit_model` for `vit`, and
passes over what classes of one's own inherit from native ones. What is renamed and still not
read is refused: the part would keep its initial weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from headsmith.compat.native import is_native, is_of_a_model_file
from headsmith.errors import CheckpointError

__all__ = ["complete", "refuse_unread"]


def complete(model: Any, transforms: list[Any]) -> None:
    """Add what Transformers 5 leaves out, to what it renames as it reads a checkpoint.

    Args:
        model: a legacy model.
        transforms: how names and weights of a checkpoint become those of the model; changed.
    """
    from transformers import PreTrainedModel

    if not all(hasattr(transform, "scope_prefix") for transform in transforms):
        return  # early 5 converts no parts
    inherited: list[Any] = []
    for path, module in model.named_modules():
        if not isinstance(module, PreTrainedModel):
            continue
        scope, base = _scope(path, model.base_model_prefix)
        if not is_native(type(module)):
            found = _of_native_bases(module)
            for transform in found if path else ():
                transform.scope_prefix, transform.base_model_prefix = scope, base
            inherited += found
        elif not base:
            lost = path.removeprefix(model.base_model_prefix).removeprefix(".")
            for transform in transforms:
                if transform.scope_prefix == lost != path:
                    transform.scope_prefix, transform.base_model_prefix = scope, base
    transforms[:0] = inherited


def _scope(path: str, base: str) -> tuple[str, str]:
    """The name of a part, and what may stand before it or not."""
    if base and (path == base or path.startswith(f"{base}.")):
        return path.removeprefix(base).removeprefix("."), base
    return path, ""


def _of_native_bases(module: Any) -> list[Any]:
    """What Transformers 5 does for the first native class that a class inherits its layers from."""
    from transformers import conversion_mapping

    known: Any = conversion_mapping.get_checkpoint_conversion_mapping
    bases = [c for c in type(module).__mro__ if is_of_a_model_file(c) and "forward" in vars(c)]
    if not bases:
        return []
    names = (*(base.__name__ for base in bases), module.config.model_type)
    return next((found for name in names if (found := known(name)) is not None), [])


def refuse_unread(
    model: Any,
    missing: Iterable[str],
    unexpected: Iterable[str],
    read: Callable[[], dict[str, Any]],
) -> None:
    """Raise if weights of a native part are in the checkpoint under names it does not know.

    Args:
        model: a legacy model, its weights read.
        missing: names of its weights that were not in the checkpoint.
        unexpected: names in the checkpoint that the model does not have.
        read: gives the tensors of the checkpoint, by name; their values are not looked at.

    Raises:
        CheckpointError: as many weights of the same shapes are missing in a part as are left.
    """
    missing = set(missing) - set(model.all_tied_weights_keys)
    unexpected = set(unexpected)
    for path, part in _native_parts(model):
        lacks = {name for name in missing if name.startswith(f"{path}.")}
        left = {name for name in unexpected if name.startswith(f"{path}.")}
        if not lacks or not left:
            continue
        tensors, own = read(), model.state_dict(keep_vars=True)
        if left <= tensors.keys() and _shapes(own, lacks) == _shapes(tensors, left):
            raise CheckpointError(
                f"{type(part).__name__} of Transformers 5, which is {path!r} in "
                f"{type(model).__name__}, calls its weights otherwise than this checkpoint, and "
                f"would not be read. Expected names such as {min(lacks)!r}. Received "
                f"{min(left)!r}. Rename them: from_pretrained(…, key_mapping={{pattern: name}})."
            )


def _native_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules of Transformers' model files."""
    for name, child in model.named_children():
        if is_of_a_model_file(type(child)):
            yield name, child
        else:
            yield from ((f"{name}.{path}", part) for path, part in _native_parts(child))


def _shapes(tensors: dict[str, Any], names: set[str]) -> Counter[tuple[int, ...]]:
    """How often each shape is there; buffers of numbers, such as position ids, do not count."""
    return Counter(tuple(tensors[n].shape) for n in names if tensors[n].is_floating_point())
