"""What an interrupted run leaves behind, so that the next one need not begin anew.

A folder of small files, each written whole or not at all: the rankings and errors of a stage
(JSON), the plan (JSON), the projections refitted in a stage (safetensors). Every file names
what it was made of (weights, data and settings) by a hash; one that was made of anything else
is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import headsmith
from headsmith.errors import OutputError
from headsmith.files import check_target, write_file
from headsmith.pruning.data import Batch
from headsmith.pruning.objective import Objective
from headsmith.pruning.processes import from_first, is_first

__all__ = ["Work", "fingerprint_of_data", "fingerprint_of_model", "key_of", "name_of"]

_MARK = "headsmith-work.json"
_TOLD = b'{"format": "headsmith-work", "version": 1}\n'


class Work:
    """A folder for what is finished while a run goes on; or none, and nothing is kept.

    Several processes that work together have what the first one has.

    Args:
        folder: where; it is made with the first file. None keeps nothing.

    Raises:
        OutputError: the folder is there and is not one of these, or cannot be written.

    Attributes:
        found: what was taken over from an earlier run, such as `"scores"`, without repeats.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.found: list[str] = []
        if folder is None or not is_first() or (folder / _MARK).is_file():
            return
        try:
            check_target(folder)
        except OutputError as error:
            raise OutputError(
                f"{folder} is there and was not left by an interrupted run. Move it away, or "
                "choose another output folder."
            ) from error

    def read(self, name: str, key: str) -> Any:
        """The data written under `name` and `key` by an earlier run, or None."""
        return self._shared(name, self._json(name, key) if is_first() else None)

    def write(self, name: str, key: str, data: Any) -> None:
        """Keep plain data under `name`."""
        text = json.dumps({"key": key, "data": data}, allow_nan=True)
        self._put(f"{name}.json", text.encode())

    def read_tensors(self, name: str, key: str) -> tuple[dict[str, Tensor], Any] | None:
        """Tensors and the data written with them, or None."""
        held: tuple[dict[str, Tensor], Any] | None = self._shared(
            name, self._tensors(name, key) if is_first() else None
        )
        return held

    def write_tensors(self, name: str, key: str, tensors: Mapping[str, Tensor], data: Any) -> None:
        """Keep tensors under `name`, and plain data with them."""
        if self.folder is None or not is_first():
            return
        own = {path: t.detach().cpu().contiguous() for path, t in tensors.items()}
        self._put(f"{name}.safetensors", save(own, {"key": key, "data": json.dumps(data)}))

    @property
    def is_there(self) -> bool:
        """Whether there is such a folder."""
        return self.folder is not None and (self.folder / _MARK).is_file()

    def remove(self) -> None:
        """Delete the folder, if it is one of these."""
        if self.folder is not None and is_first() and (self.folder / _MARK).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _shared(self, name: str, found: Any) -> Any:
        found = from_first(found) if self.folder is not None else None
        kind = name.partition("-")[0]
        if found is not None and kind not in self.found:
            self.found.append(kind)
        return found

    def _json(self, name: str, key: str) -> Any:
        if self.folder is None:
            return None
        try:
            held = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        fits = isinstance(held, dict) and held.get("key") == key
        return held.get("data") if fits else None

    def _tensors(self, name: str, key: str) -> tuple[dict[str, Tensor], Any] | None:
        if self.folder is None:
            return None
        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                noted = file.metadata() or {}
                if noted.get("key") != key:
                    return None
                return {n: file.get_tensor(n) for n in file.keys()}, json.loads(noted["data"])  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError):
            return None

    def _put(self, name: str, data: bytes) -> None:
        if self.folder is None or not is_first():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made: {error.strerror}.") from error
        if not (self.folder / _MARK).exists():
            write_file(self.folder / _MARK, _TOLD, overwrite=True)
        write_file(self.folder / name, data, overwrite=True)


def key_of(*parts: Any) -> str:
    """A hash of plain data and of this version of headsmith."""
    text = json.dumps([headsmith.__version__, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of_model(model: nn.Module) -> str:
    """A hash of a model's class and all its weights."""
    return _hash(
        type(model).__name__,
        # A model's extra state may be anything; it is no weight.
        ((n, t) for n, t in model.state_dict().items() if isinstance(t, Tensor)),
    )


def fingerprint_of_data(batches: Sequence[Batch]) -> str:
    """A hash of all that batches hold."""
    return _hash(
        str(len(batches)),
        ((f"{i} {name}", t) for i, b in enumerate(batches) for name, t in sorted(b.items())),
    )


def name_of(objective: Objective) -> list[str]:
    """What tells one objective from another; of functions in it the name."""
    told = [type(objective).__name__, objective.name]
    for field in getattr(objective, "__dataclass_fields__", ()):
        value = getattr(objective, field)
        told.append(getattr(value, "__qualname__", None) or str(value))
    return told


def _hash(kind: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    found = hashlib.sha256(kind.encode())
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.device.type != "meta" and tensor.numel():
            plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(plain.numpy().data)
    return found.hexdigest()
