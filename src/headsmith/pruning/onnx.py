"""Export to ONNX, with proof: ONNX Runtime must give what the model gives.

Batch and sequence length stay free. Models are exported in float32, which ONNX Runtime
computes in everywhere.
"""

from __future__ import annotations

import copy
import inspect
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsmith.errors import CheckpointError, DataError, HeadsmithError
from headsmith.extras import require
from headsmith.files import new_folder
from headsmith.pruning.checkpoint import write_texts
from headsmith.pruning.latency import longest_input
from headsmith.pruning.replay import inference
from headsmith.pruning.resized import FromNothing

__all__ = ["MODEL_FILE", "TOLERANCE", "OnnxExport", "export_onnx"]

MODEL_FILE = "onnx/model.onnx"
"""Where the file stands in its folder: where Optimum, Sentence-Transformers and
Transformers.js look for it."""

TOLERANCE = 1e-4
"""Largest difference allowed, of outputs up to 1; for larger ones as a part of the largest."""

_SHAPES = ((1, 1), (1, 7), (2, 16), (3, 33), (2, 128))
_EXAMPLE = (2, 6)  # sizes that are not 1, which exporters take for a constant


@dataclass(frozen=True)
class OnnxExport:
    """What was exported and how well it was met.

    Args:
        file: the ONNX file.
        inputs: names of the inputs.
        outputs: names of the outputs.
        shapes: (batch, sequence) pairs it was checked on; images have a sequence of 0.
        difference: the largest difference found, of outputs up to 1; for larger ones as a part
            of the largest.
        bytes: size of the file, with the weights beside it if they are kept apart.
    """

    file: Path
    inputs: list[str]
    outputs: list[str]
    shapes: list[tuple[int, int]]
    difference: float
    bytes: int


def export_onnx(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    tokenizer: Any = None,
    texts: Mapping[str, str | bytes] | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> OnnxExport:
    """Write a model, pruned or not, as ONNX, and check it in ONNX Runtime.

    The folder holds `onnx/model.onnx`, `config.json` and the tokenizer; it appears whole, or not
    at all. Outputs are those of the model that are tensors, under their names
    (`last_hidden_state`, `logits`, …). Causal language models give the logits of every token;
    there is no key-value cache.

    Args:
        model: a Transformers model of texts (an encoder or a decoder, with any task head) or of
            images; it is not changed.
        folder: where to write; must not exist or be empty.
        tokenizer: saved beside it when given; what it puts out are the inputs.
        texts: further files, path below the folder → contents; text is written as UTF-8.
        tolerance: largest difference allowed; see `TOLERANCE`.
        overwrite: replace a folder that is there.

    Raises:
        CheckpointError: the model cannot be exported.
        DataError: the model takes inputs that are not known here.
        HeadsmithError: ONNX Runtime gives other outputs.
        MissingExtraError: the extra `onnx` is not installed.
        OutputError: the folder exists, is not writable, or the disk is full.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "onnx")
    with new_folder(Path(folder), overwrite=overwrite) as aside:
        file = aside / MODEL_FILE
        file.parent.mkdir()
        caller = _Caller(model, _input_names(model, tokenizer))
        _write(caller, file)
        difference, shapes = _compare(caller, file, tolerance)
        config = getattr(model, "config", None)
        if config is not None:
            # The plan is for building the model in torch; the graph needs none.
            plain = copy.deepcopy(config)
            if hasattr(plain, "quantization_config"):
                del plain.quantization_config
            plain.save_pretrained(aside)
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)
        write_texts(aside, texts or {})
        size = sum(f.stat().st_size for f in file.parent.iterdir())
    return OnnxExport(
        Path(folder) / MODEL_FILE, caller.inputs, caller.outputs, shapes, difference, size
    )


class _Caller(nn.Module):
    """The model as a function of named tensors, giving a tuple of tensors."""

    def __init__(self, model: nn.Module, inputs: list[str]) -> None:
        super().__init__()
        own = copy.deepcopy(model).cpu().float().eval()
        for path, module in list(own.named_modules()):
            if _reads_nothing(module):
                # A product over no features is not computed alike everywhere; a bias is.
                own.set_submodule(path, FromNothing(module))
        self.model = own.requires_grad_(False)
        self.inputs = inputs
        with inference(own), torch.no_grad():
            try:
                given = self._call(self.batch(*_EXAMPLE))
            except Exception as error:  # each model has exceptions of its own
                raise DataError(
                    f"{type(model).__name__} cannot be run on {', '.join(inputs)} alone "
                    f"({type(error).__name__}: {error})."
                ) from error
        self.outputs = [name for name, value in given.items() if isinstance(value, Tensor)]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        output = self._call(dict(zip(self.inputs, values, strict=True)))
        return tuple(output[name] for name in self.outputs)

    def _call(self, batch: Mapping[str, Tensor]) -> Any:
        parameters = inspect.signature(self.model.forward).parameters
        options = {"use_cache": False} if "use_cache" in parameters else {}
        return self.model(**batch, **options, return_dict=True)

    def batch(self, size: int, length: int, seed: int = 0) -> dict[str, Tensor]:
        """Random inputs, the last of several texts padded."""
        config = cast(Any, self.model.config)
        generator = torch.Generator().manual_seed(seed)
        if "pixel_values" in self.inputs:
            side = config.image_size
            height, width = (side, side) if isinstance(side, int) else side
            shape = (size, config.num_channels, height, width)
            return {"pixel_values": torch.randn(shape, generator=generator)}
        ids = torch.randint(int(config.vocab_size), (size, length), generator=generator)
        mask = torch.ones_like(ids)
        if size > 1:
            mask[-1, (length + 1) // 2 :] = 0
        batch = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self.inputs:
            batch["token_type_ids"] = (torch.arange(length) > length // 2).long().expand(size, -1)
        return batch


def _reads_nothing(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    reads = 1 if isinstance(module, nn.Linear) else 0
    return (
        (isinstance(module, nn.Linear) or hasattr(module, "nf"))
        and isinstance(weight, Tensor)
        and weight.shape[reads] == 0
    )


def _input_names(model: nn.Module, tokenizer: Any) -> list[str]:
    parameters = inspect.signature(model.forward).parameters
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) or not (
        {"input_ids", "pixel_values"} & set(parameters)
    ):
        raise DataError(
            "Encoders, decoders and image models can be exported. "
            f"Received a {type(model).__name__}, which takes {', '.join(list(parameters)[:4])}, …"
        )
    if "input_ids" not in parameters:
        return ["pixel_values"]
    if "pixel_values" in parameters:
        raise DataError(
            f"A {type(model).__name__} takes texts and images. Export its towers one by one, "
            "such as its vision_model."
        )
    names = ["input_ids", "attention_mask"]
    given = getattr(tokenizer, "model_input_names", None)
    typed = (
        "token_type_ids" in given
        if given is not None
        else int(getattr(config, "type_vocab_size", 0) or 0) > 1
    )
    return [*names, "token_type_ids"] if typed and "token_type_ids" in parameters else names


def _write(caller: _Caller, file: Path) -> None:
    sizes: dict[int, Any] = {0: "batch"}
    if "pixel_values" not in caller.inputs:
        sizes[1] = "sequence"
    try:
        with inference(caller.model), torch.no_grad(), _quiet():
            program = torch.onnx.export(
                caller,
                tuple(caller.batch(*_EXAMPLE)[name] for name in caller.inputs),
                input_names=caller.inputs,
                output_names=caller.outputs,
                dynamic_shapes={"values": tuple(sizes for _ in caller.inputs)},
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # noqa: S101 - what dynamo gives
            program.save(str(file))
    except OSError:
        raise
    except Exception as error:  # the exporter's own, and those of models
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"torch.onnx.export cannot export this {type(caller.model).__name__}: {reason}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to developers off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _compare(caller: _Caller, file: Path, tolerance: float) -> tuple[float, list[tuple[int, int]]]:
    """The largest difference over several shapes, and those shapes."""
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    worst, checked = 0.0, []
    for number, (size, length) in enumerate(_shapes(caller)):
        batch = caller.batch(size, length, seed=number)
        with inference(caller.model), torch.no_grad():
            expected = caller(*(batch[name] for name in caller.inputs))
        try:
            found = session.run(caller.outputs, {n: batch[n].numpy() for n in caller.inputs})
        except Exception as error:  # ONNX Runtime's have no common ancestor of their own
            raise HeadsmithError(
                f"ONNX Runtime cannot run the exported model on a batch of {size} × {length} "
                f"({error}). Nothing was written."
            ) from error
        for name, ours, theirs in zip(caller.outputs, expected, found, strict=True):
            difference = _difference(ours.numpy(), theirs)
            if not difference <= tolerance:
                raise HeadsmithError(
                    f"ONNX Runtime gives another {name!r} on a batch of {size} × {length}: "
                    f"expected a difference of at most {tolerance:g}, received {difference:.2g}. "
                    "Nothing was written. A larger --tolerance would accept it."
                )
            worst = max(worst, difference)
        checked.append((size, length))
    return worst, checked


def _shapes(caller: _Caller) -> Sequence[tuple[int, int]]:
    if "pixel_values" in caller.inputs:
        return ((1, 0), (3, 0))
    longest = longest_input(caller.model) or 128
    return sorted({(size, min(length, longest)) for size, length in _SHAPES})


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    scale = max(1.0, float(np.abs(ours).max(initial=0.0)))
    return float(np.abs(ours - theirs).max(initial=0.0)) / scale
