"""Reading the `tf_model.h5` that TensorFlow models of Transformers 4 saved, with h5py alone."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headsmith.convert.names import as_state, state_name, tensorflow_name
from headsmith.errors import CheckpointError
from headsmith.extras import require

__all__ = ["read_tensorflow_checkpoint"]

_FILE = "tf_model.h5"
_INDEX = "tf_model.h5.index.json"
_MOST_COMPRESSED = 1024  # as deflate packs zeros; more is a small file that fills memory


def read_tensorflow_checkpoint(path: str | PathLike[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Read all weights of a TensorFlow checkpoint of Transformers 4 under PyTorch's names.

    Made for what the layers of this package need, the `Conv1D` and summary weights of
    TFGPT2, TFXLNet and TFXLM models: `kernel` is transposed, a bias (1, n) becomes (n,), the
    rest stays. The whole checkpoint is read, so a whole model of dense, embedding and
    normalisation layers can be filled with it.

    Args:
        path: A `tf_model.h5`, or the folder that holds it, whole or in shards.

    Returns:
        Name → array, such as "transformer.h.0.attn.c_attn.weight": hand it to `to_torch` or
        `to_keras`, with a prefix.

    Raises:
        CheckpointError: There is no such file, it is no HDF5 file of this kind, or it refers to
            data outside itself.
        MissingExtraError: h5py is not installed.

    Example:
        >>> read_tensorflow_checkpoint("no/such/folder")
        Traceback (most recent call last):
        headsmith.errors.CheckpointError: Expected a tf_model.h5... Received: no/such/folder...
    """
    files = _files(Path(path))
    weights: dict[str, npt.NDArray[np.generic]] = {}
    for file in files:
        for name, value in _read(file).items():
            if name in weights:
                raise CheckpointError(f"{file} holds the weight {name!r} a second time.")
            weights[name] = value
    return weights


def _files(path: Path) -> list[Path]:
    if path.is_dir() and (path / _INDEX).is_file() and not (path / _FILE).is_file():
        try:
            named = json.loads((path / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
            names = sorted({str(name) for name in named})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path / _INDEX} is no index of shards: {error}.") from error
        if not names:
            raise CheckpointError(f"{path / _INDEX} names no shards.")
        if any(Path(name).name != name for name in names):
            raise CheckpointError(f"{path / _INDEX} names files outside its folder: {names}.")
        files = [path / name for name in names]
    else:
        files = [path / _FILE if path.is_dir() else path]
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"Expected a {_FILE} of Transformers 4, or a folder that holds one. "
                f"Received: {path}, where {file.name} does not exist."
            )
    return files


def _read(file: Path) -> dict[str, npt.NDArray[np.generic]]:
    h5py: Any = require("h5py", "keras")
    weights: dict[str, npt.NDArray[np.generic]] = {}
    try:
        with h5py.File(file, "r") as root:
            # `visititems` goes along hard links alone: none leads out of the file.
            found: dict[str, Any] = {}
            root.visititems(
                lambda name, item: (
                    found.update({name: item}) if isinstance(item, h5py.Dataset) else None
                )
            )
            for place, dataset in found.items():
                if dataset.external or dataset.is_virtual:
                    raise CheckpointError(
                        f"{file} keeps the values of {place!r} in another file. Nothing was read."
                    )
                if dataset.dtype.kind not in "fiub":
                    raise CheckpointError(
                        f"{file} holds {place!r} of dtype {dataset.dtype}, which is no weight."
                    )
                stored = dataset.id.get_storage_size()
                if dataset.nbytes > _MOST_COMPRESSED * stored:
                    raise CheckpointError(
                        f"{file} says that {place!r} takes {dataset.nbytes:,} bytes, but holds "
                        f"{stored:,}. Nothing was read."
                    )
                path = _path(root, place)
                name = state_name(path)
                if name in weights:
                    raise CheckpointError(f"{file} holds the weight {name!r} a second time.")
                weights[name] = as_state(path, np.asarray(dataset[()]))
    except CheckpointError:
        raise
    except Exception as error:  # h5py has another one for each way a file can be damaged
        raise CheckpointError(f"{file} cannot be read as an HDF5 file: {error}.") from error
    if not weights:
        raise CheckpointError(f"{file} holds no weights.")
    return weights


def _path(root: Any, place: str) -> str:
    """Give the weight's path: whole files group weights by layer, shards do not."""
    first, _, rest = place.partition("/")
    if rest and any(name.startswith("weight_names") for name in root[first].attrs):
        return tensorflow_name(rest)
    return tensorflow_name(place, with_model=False)
