"""What the commands open first: a model, its tokenizer, and what pruning shall preserve in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headsmith.cli.output import current
from headsmith.errors import CheckpointError, DataError
from headsmith.extras import require
from headsmith.network import connection_trouble, interrupted

if TYPE_CHECKING:
    import torch
    from torch import nn

    from headsmith.pruning.objective import Objective

__all__ = [
    "Match",
    "choose_objective",
    "fit_length",
    "is_qa",
    "open_model",
    "open_tokenizer",
    "open_without_tokenizer",
    "pick_device",
    "pooling_of",
    "quiet_libraries",
    "read_file",
    "refuse_no_folder",
    "sentence_files",
]

Match = Literal["auto", "embedding", "hidden", "distribution"]
"""What pruning preserves: sentence embeddings, hidden states, or a task head's distribution."""

_SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_FOLDER = re.compile(r"[A-Za-z0-9_\-]{1,100}")


def pick_device(name: str | None) -> torch.device:
    """The device asked for, or the fastest there is.

    Args:
        name: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, …; None or `"auto"` takes a GPU if there
            is one; of several processes on a machine each takes one of its own, in turns.

    Raises:
        click.BadParameter: the device does not exist here.
    """
    require("torch", "pruning")
    import torch

    if name is None or name == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        place = os.environ.get("LOCAL_RANK", "")  # told by torchrun and accelerate launch
        if found is not None and place.isdigit() and torch.accelerator.device_count() > 1:
            return torch.device(found.type, int(place) % torch.accelerator.device_count())
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # each backend has exceptions of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise click.BadParameter(
            f"expected a device of this machine, such as 'cpu'. Received {name!r} ({reason})",
            param_hint="'--device'",
        ) from error
    return device


def open_model(name: str, device: str | torch.device | None = None) -> tuple[nn.Module, Any]:
    """Open a model and its tokenizer.

    Of a Sentence-Transformers model the encoder is opened, which its pooling follows.

    Args:
        name: a local folder, or the id of a model on the hub.
        device: where to put the model; see `pick_device`.

    Returns:
        The model, in evaluation mode on its device, and the tokenizer.

    Raises:
        CheckpointError: there is no model, or no tokenizer, that can be opened.
    """
    model = open_without_tokenizer(name, device)
    return model, open_tokenizer(name)


def open_without_tokenizer(name: str, device: str | torch.device | None = None) -> nn.Module:
    """Open a model alone, for what needs no text."""
    refuse_no_folder(name)
    target = pick_device(device) if device is None or isinstance(device, str) else device
    transformers = require("transformers", "pruning")
    quiet_libraries()
    from headsmith.pruning import load

    if is_qa(name):
        from headsmith.qa.model import QAModel

        return QAModel.from_pretrained(name).to(target).eval()
    options: dict[str, Any] = {}
    if pooling_of(name) is not None:
        options["model_class"] = transformers.AutoModel
    model, report = load(name, output_loading_info=True, **options)
    fresh = sorted(k for k in report["missing_keys"] if not k.startswith("pooler."))
    if fresh:
        current().warn(
            f"{len(fresh)} weights are not in the checkpoint and were set at random, the first "
            f"{fresh[0]!r}. What is measured through them means little."
        )
    opened: nn.Module = model.to(target).eval()
    return opened


def is_qa(name: str) -> bool:
    """Whether a name is that of a QA model which headsmith wrote."""
    return read_file(name, "headsmith-qa.json") is not None


def open_tokenizer(name: str) -> Any:
    """Open a model's tokenizer.

    Raises:
        CheckpointError: there is none.
    """
    refuse_no_folder(name)
    transformers = require("transformers", "pruning")
    quiet_libraries()
    expected = "Expected tokenizer.json or a vocabulary beside the weights."
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        if trouble := connection_trouble(error):
            raise CheckpointError(interrupted(name, trouble)) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"No tokenizer can be opened at {name!r} ({reason}). {expected}"
        ) from error
    # Without its files Transformers 5 makes one of special tokens alone: all words unknown.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise CheckpointError(
            f"No tokenizer can be opened at {name!r} (its vocabulary is empty). {expected}"
        )
    return tokenizer


def fit_length(model: nn.Module, length: int) -> int:
    """`length` tokens, or as many as the model has positions for if those are fewer."""
    from headsmith.pruning.latency import longest_input

    longest = longest_input(model)
    return length if longest is None else min(length, longest)


def quiet_libraries() -> None:
    """Keep Transformers' own bars and notices off the terminal; errors still come as such."""
    transformers = require("transformers", "pruning")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # Without a network the hub's client announces every retry.
    require("huggingface_hub", "pruning").utils.logging.set_verbosity_error()


def refuse_no_folder(name: str) -> None:
    """Refuse a name that looks like a folder and is none with a model in it.

    Raises:
        CheckpointError: so it is.
    """
    path = Path(name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if path.is_file():
        raise CheckpointError(
            f"A model is a folder, or the id of a model on the hub. {name!r} is a file."
        )
    if looks_local and not path.is_dir():
        raise CheckpointError(f"The model folder {name!r} does not exist.")
    if path.is_dir() and not (path / "config.json").is_file():
        raise CheckpointError(
            f"The folder {name!r} holds no model: it has no config.json. "
            "Expected what save_pretrained writes."
        )


def choose_objective(model: nn.Module, name: str, match: Match = "auto") -> Objective:
    """What pruning shall preserve in this model.

    Args:
        model: as `open_model` gave it.
        name: where it came from; a Sentence-Transformers model is known by its files.
        match: `"embedding"`, `"hidden"` or `"distribution"`; `"auto"` takes the embeddings of
            a Sentence-Transformers model, the loss of a QA model of headsmith, the distribution
            a task head puts out, and the last hidden states otherwise.

    Returns:
        The objective, for `headsmith.pruning.pipeline.prune` and `rank`.

    Raises:
        DataError: the model does not put out what `match` asks for.
    """
    from headsmith.pruning.objective import (
        LossObjective,
        MatchDistribution,
        MatchEmbedding,
        MatchHidden,
    )

    if "start_top_index" in (outputs := _outputs_of(model)):
        if match != "auto":
            raise DataError(
                f"--match {match} is not for QA models, whose own loss is kept. Leave it out."
            )
        return LossObjective(lambda output, batch: output.loss)
    pooling = pooling_of(name)
    has_logits = "logits" in outputs or {"start_logits", "end_logits"} <= outputs
    has_hidden = "last_hidden_state" in outputs
    if match == "auto":
        if has_hidden:
            match = "embedding" if pooling in ("mean", "cls") else "hidden"
        else:
            match = "distribution"
    if match == "distribution" and not has_logits:
        raise DataError(
            f"--match distribution needs a task head that gives logits. {type(model).__name__} "
            f"gives {', '.join(sorted(outputs))}. "
            + ("Use --match hidden." if has_hidden else "Save it as a model with one task head.")
        )
    if match in ("embedding", "hidden") and not has_hidden:
        raise DataError(
            f"--match {match} needs a model without a task head. {type(model).__name__} gives "
            f"{', '.join(sorted(outputs))}. Use --match distribution."
        )
    if match == "distribution":
        return MatchDistribution()
    if match == "hidden":
        return MatchHidden()
    if pooling not in (None, "mean", "cls"):
        raise DataError(
            f"--match embedding knows mean and cls pooling. This model pools by {pooling!r}. "
            "Use --match hidden, which keeps every token's state."
        )
    return MatchEmbedding("cls" if pooling == "cls" else "mean")


def _outputs_of(model: nn.Module) -> set[str]:
    """Names of what the model puts out, found by asking it once with two tokens."""
    import torch

    from headsmith.pruning.replay import inference

    device = next(model.parameters()).device
    ids = torch.zeros(1, 2, dtype=torch.long, device=device)
    try:
        with inference(model), torch.no_grad():
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return set(output.keys())
    except Exception as error:  # each model has exceptions of its own
        raise DataError(
            f"{type(model).__name__} cannot be run on input_ids and attention_mask alone "
            f"({type(error).__name__}: {error})."
        ) from error


def pooling_of(name: str) -> str | None:
    """How a Sentence-Transformers model pools its tokens; None where it is none.

    Args:
        name: a local folder, or the id of a model on the hub.

    Returns:
        `"mean"`, `"cls"`, `"max"`, …; several modes joined by a plus sign.
    """
    modules = _read_json(name, "modules.json")
    if not isinstance(modules, list):
        return None
    for module in modules:
        if not isinstance(module, dict) or not str(module.get("type", "")).endswith("Pooling"):
            continue
        folder = str(module.get("path", ""))
        config = _read_json(name, f"{folder}/config.json") if _FOLDER.fullmatch(folder) else None
        return _pooling_mode(config) if isinstance(config, dict) else None
    return None


def _pooling_mode(config: dict[str, Any]) -> str:
    # Sentence-Transformers 6 writes one mode by its name; versions before, one switch for each.
    mode = config.get("pooling_mode")
    if mode is not None:
        return "+".join(map(str, mode)) if isinstance(mode, list) else str(mode)
    switches = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    prefix = "pooling_mode_"
    on = [k.removeprefix(prefix) for k, v in config.items() if k.startswith(prefix) and v is True]
    return "+".join(switches.get(k, k) for k in on) or "mean"


def sentence_files(name: str) -> dict[str, str | bytes]:
    """The files that make a folder a Sentence-Transformers model, path below it → contents.

    Copied beside a pruned encoder, they let `SentenceTransformer(folder)` open it. Weights of
    further modules (Dense, LayerNorm) are among them where they are safetensors. Empty for any
    other model, and for one with modules that cannot be copied; then a warning tells.
    """
    modules = _read_json(name, "modules.json")
    listed = isinstance(modules, list) and all(isinstance(module, dict) for module in modules)
    if not listed or pooling_of(name) is None:
        return {}
    found: dict[str, str | bytes] = {
        f: text for f in _SENTENCE_FILES if (text := read_file(name, f)) is not None
    }
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        folder = str(module.get("path", ""))
        if folder and _FOLDER.fullmatch(folder) is None:
            return {}
        own = _module_files(name, kind, folder)
        if own is None:
            current().warn(
                f"The module {kind} of this Sentence-Transformers model cannot be copied "
                "(known are Pooling, Normalize, Dropout, Dense and LayerNorm, with safetensors "
                "weights). What is written is its encoder alone."
            )
            return {}
        found |= own
    return found


def _module_files(name: str, kind: str, folder: str) -> dict[str, str | bytes] | None:
    """The files of one module after the encoder; None where they cannot be copied."""
    if kind in ("Transformer", "Normalize"):
        return {}
    config = read_file(name, f"{folder}/config.json")
    if kind in ("Pooling", "Dropout"):
        return {} if config is None else {f"{folder}/config.json": config}
    weights = _find(name, f"{folder}/model.safetensors") if folder else None
    if kind not in ("Dense", "LayerNorm") or config is None or weights is None:
        return None
    return {
        f"{folder}/config.json": config,
        f"{folder}/model.safetensors": weights.read_bytes(),
    }


def _read_json(name: str, file: str) -> Any:
    text = read_file(name, file)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_file(name: str, file: str) -> str | None:
    """The text of one file of a model; None where it has none."""
    path = _find(name, file)
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _find(name: str, file: str) -> Path | None:
    """Where one file of a model is on this machine; None where it has none."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    try:
        found = require("transformers", "pruning").utils.cached_file(name, file)
    except (OSError, ValueError):  # not there, not reachable, or not a name the hub can have
        return None
    return None if found is None else Path(found)
