"""The state of a training run on disk: safetensors and JSON, whole or not there.

Every state is a folder of its own, `step-000200`, moved into place when it is complete; the
one before goes only then.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from headsmith.errors import CheckpointError
from headsmith.files import new_folder

__all__ = ["State", "find_state", "write_state"]

_WEIGHTS, _OPTIMIZER, _TOLD = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass
class State:
    """How far a run is.

    Args:
        step: steps done.
        losses: of each of them.
        seconds: spent on them.
        run: what the run is: options, and a digest of its data.
        scaler: state of the gradient scaler of float16; empty without.
        folder: where it was read from.
    """

    step: int
    losses: list[float]
    seconds: float
    run: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights and optimizer back as they were.

        Raises:
            CheckpointError: the files are damaged or of another model.
        """
        assert self.folder is not None  # noqa: S101 - find_state sets it
        try:
            model.load_state_dict(load_file(self.folder / _WEIGHTS))
            flat = load_file(self.folder / _OPTIMIZER)
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in flat.items():
                index, _, key = name.partition(".")
                state.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (OSError, SafetensorError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"The training state {self.folder} cannot be taken up: {reason}. Delete the "
                "folder above it to begin anew."
            ) from error


def write_state(
    folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write a state, and delete the ones before.

    Args:
        folder: holds the states of one run; made if it is missing.
        state: how far the run is.
        model: without any wrapper.
        optimizer: of its parameters.

    Raises:
        OutputError: it cannot be written; the last state is still there then.
    """
    weights = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    flat = {
        f"{index}.{key}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }
    told = {
        "step": state.step,
        "losses": state.losses,
        "seconds": state.seconds,
        "run": state.run,
        "scaler": state.scaler,
    }
    with new_folder(folder / f"step-{state.step:06d}", overwrite=True) as aside:
        save_file(weights, aside / _WEIGHTS)
        save_file(flat, aside / _OPTIMIZER)
        (aside / _TOLD).write_text(json.dumps(told), encoding="utf-8")
    for step, old in _states(folder):
        if step < state.step:
            shutil.rmtree(old, ignore_errors=True)


def find_state(folder: Path, run: dict[str, Any]) -> State | None:
    """The last state of a run; None where there is none.

    Args:
        folder: where `write_state` wrote.
        run: what the run is now.

    Raises:
        CheckpointError: the state is of another run, or damaged.
    """
    states = _states(folder)
    if not states:
        return None
    _, found = max(states)
    try:
        told = json.loads((found / _TOLD).read_text(encoding="utf-8"))
        state = State(
            int(told["step"]),
            [float(x) for x in told["losses"]],
            float(told["seconds"]),
            dict(told["run"]),
            dict(told["scaler"]),
            found,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"The training state {found} cannot be read: {error}. Delete it to begin anew."
        ) from error
    other = sorted(k for k in {*run, *state.run} if run.get(k) != state.run.get(k))
    if other:
        told_of = ", ".join(f"{k} {state.run.get(k)!r:.40} → {run.get(k)!r:.40}" for k in other)
        raise CheckpointError(
            f"The training state in {folder} is of another run: {told_of}. Give the same options "
            "and data to go on, or delete the folder to begin anew."
        )
    return state


def _states(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(p.name), p) for p in folder.iterdir() if p.is_dir())
    return [(int(match[1]), p) for match, p in named if match]
