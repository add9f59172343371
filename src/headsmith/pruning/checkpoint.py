"""Checkpoints of pruned models: safetensors, the plan in the config, loaded by plain Transformers.

Transformers builds a model from its config, dense, and only then reads the weights. Between
the two it asks the quantizer named in the config; ours carries out the plan there, on the
meta device, so that every weight finds a place of its own size. After loading nothing of a
quantizer is left on the model: it trains, moves and converts like any other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from headsmith.errors import CheckpointError, HeadsmithError, PlanError
from headsmith.files import new_folder
from headsmith.network import connection_trouble, interrupted
from headsmith.pruning.families import describe
from headsmith.pruning.record import METHOD, forget_foreign_note
from headsmith.pruning.surgery import check_plan, cut, plan_of_heads
from headsmith.spec.plan import PrunePlan

__all__ = ["load", "save"]


@register_quantization_config(METHOD)
class _PlanConfig(QuantizationConfigMixin):
    """The plan, in the dress in which Transformers hands it back to us."""

    def __init__(self, plan: Mapping[str, Any] | None = None, **_: Any) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.plan = plan

    def to_dict(self) -> dict[str, Any]:
        return {"quant_method": METHOD, "plan": self.plan}


@register_quantizer(METHOD)
class _PlanCutter(HfQuantizer):
    """Carries out the plan on the empty model, and leaves no trace of a quantizer."""

    requires_calibration = True  # a plan comes from scoring, never from a bare config

    def _process_model_before_weight_loading(self, model: nn.Module, **_: Any) -> nn.Module:
        plan = PrunePlan.from_dict(self.quantization_config.to_dict()["plan"])
        description = describe(model)
        check_plan(plan, description)
        cut(description, plan)
        self._shapes = {name: p.shape for name, p in model.named_parameters()}
        return model

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        # Transformers 5.0 puts in weights of any shape where there is a quantizer.
        misfits = sorted(
            (name, tuple(p.shape), tuple(self._shapes[name]))
            for name, p in model.named_parameters()
            if p.shape != self._shapes.get(name, p.shape)
        )
        if misfits:
            raise CheckpointError(_unfitting(model.name_or_path, misfits))
        model.config.quantization_config = self.quantization_config.to_dict()
        for trace in ("hf_quantizer", "quantization_method", "is_quantized"):
            if trace in vars(model):
                delattr(model, trace)
        return model

    def is_serializable(self, *_: Any, **__: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    tokenizer: Any = None,
    texts: Mapping[str, str | bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a pruned model so that `AutoModel.from_pretrained` opens it.

    The folder appears whole or not at all. Opening it needs `import headsmith.pruning` first.

    Args:
        model: a Transformers model that `apply_plan` has cut (a dense one is saved as it is).
        folder: where to write; must not exist or be empty.
        tokenizer: saved beside the model when given.
        texts: further files, path below the folder → contents; text is written as UTF-8.
        overwrite: replace a folder that is there.

    Raises:
        OutputError: the folder exists, is not writable, or the disk is full.
    """
    forget_foreign_note(model)
    with new_folder(Path(folder), overwrite=overwrite) as aside:
        try:
            model.save_pretrained(aside)  # type: ignore[operator]
            if tokenizer is not None:
                tokenizer.save_pretrained(aside)
        except Exception as error:
            # safetensors and tokenizers report a full disk as errors of their own.
            if isinstance(error, OSError):
                raise
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise OSError(f"{type(error).__name__}: {error}") from error
        write_texts(aside, texts or {})


def write_texts(folder: Path, texts: Mapping[str, str | bytes]) -> None:
    """Write files below `folder`, path → contents; text is written as `write_file` does."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str):
            path.write_text(text, encoding="utf-8", errors="replace")
        else:
            path.write_bytes(text)


def load(
    path: str | os.PathLike[str], *, model_class: type[Any] | None = None, **options: Any
) -> Any:
    """Open a checkpoint, pruned by headsmith, pruned by Transformers 4, or dense.

    Only safetensors files are read: nothing is unpickled and no code from the checkpoint runs.

    Args:
        path: a local folder or a hub id.
        model_class: the class to build, such as `AutoModelForSequenceClassification`; None
            takes the one named in the checkpoint, or `AutoModel`.
        **options: passed on to `from_pretrained`, such as `dtype` or `attn_implementation`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: there is no checkpoint that can be opened at `path`.
        PlanError: the plan in it does not fit the model it names.
    """
    try:
        config = options.pop("config", None) or transformers.AutoConfig.from_pretrained(
            path, trust_remote_code=False
        )
    except Exception as error:
        raise CheckpointError(_unreadable(path, error)) from error
    if model_class is None:
        names = getattr(config, "architectures", None) or []
        model_class = getattr(transformers, names[0], None) if names else None
    model_class = model_class or transformers.AutoModel
    pruned_heads = getattr(config, "pruned_heads", None)
    if pruned_heads and getattr(config, "quantization_config", None) is None:
        plan = _plan_of_transformers4(config, pruned_heads)
        config.quantization_config = {"quant_method": METHOD, "plan": plan.to_dict()}
    options.setdefault("use_safetensors", True)
    try:
        return model_class.from_pretrained(path, config=config, **options)
    except HeadsmithError:
        raise
    except Exception as error:
        misfits = _misfits(model_class, path, config, options) if "mismatch" in str(error) else []
        raise CheckpointError(
            _unfitting(path, misfits) if misfits else _unreadable(path, error)
        ) from error


def _misfits(
    model_class: type[Any], path: object, config: Any, options: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """(weight, its shape in the file, its shape by the config); Transformers only logs them."""
    asked = {**options, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        _, report = model_class.from_pretrained(path, config=config, **asked)
        return sorted((str(n), tuple(a), tuple(b)) for n, a, b in report["mismatched_keys"])
    except Exception:  # the first error is the one to tell
        return []


def _unfitting(path: object, misfits: list[tuple[str, Any, Any]]) -> str:
    name, found, expected = misfits[0]
    others = f", and so for {len(misfits) - 1} more" if len(misfits) > 1 else ""
    return (
        f"The weights at {str(path)!r} do not have the shapes that config.json says: of {name} "
        f"expected {list(expected)}, received {list(found)}{others}. The config, or the plan in "
        "it, is not the one these weights were saved with."
    )


def _plan_of_transformers4(config: Any, pruned_heads: Mapping[Any, Any]) -> PrunePlan:
    try:
        # JSON has turned the layer numbers into strings.
        heads = {int(layer): [int(h) for h in gone] for layer, gone in pruned_heads.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"config.pruned_heads maps layers to lists of heads. Received {pruned_heads!r}."
        ) from error
    import torch

    with torch.device("meta"):
        return plan_of_heads(transformers.AutoModel.from_config(config), heads)  # type: ignore[no-untyped-call]


def _unreadable(path: object, error: Exception) -> str:
    if trouble := connection_trouble(error):
        return interrupted(path, trouble)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # "Validation error for field 'hidden_size':" goes on in the next line.
    told = 2 if lines and lines[0].endswith(":") else 1
    reason = " ".join(lines[:told]).rstrip(".") or type(error).__name__
    return (
        f"No model can be opened at {str(path)!r} ({reason}). Expected a folder, or the id of a "
        "model on the hub, with config.json and safetensors weights."
    )
