"""Small stand-ins for helpers of Transformers 4 that have lost their subject.

They are what `restore` puts where old files look; new code has no use for them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "FLAX_WEIGHTS_NAME",
    "TF2_WEIGHTS_NAME",
    "TF_WEIGHTS_NAME",
    "get_parameter_device",
    "get_parameter_dtype",
    "is_flax_available",
    "is_remote_url",
    "is_safetensors_available",
    "is_tf_available",
    "is_torch_fx_available",
    "is_torch_less_than_1_11",
    "no_init_weights",
]

FLAX_WEIGHTS_NAME = "flax_model.msgpack"
TF2_WEIGHTS_NAME = "tf_model.h5"
TF_WEIGHTS_NAME = "model.ckpt"
is_torch_less_than_1_11 = False


def __getattr__(name: str) -> Any:
    if name == "TRANSFORMERS_CACHE":
        from huggingface_hub.constants import HF_HUB_CACHE

        return HF_HUB_CACHE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def is_tf_available() -> bool:
    """Whether models may be TensorFlow's: never in Transformers 5."""
    return False


def is_flax_available() -> bool:
    """Whether models may be Flax's: never in Transformers 5."""
    return False


def is_torch_fx_available() -> bool:
    """Whether torch has `torch.fx`: every torch that Transformers 5 takes."""
    return True


def is_safetensors_available() -> bool:
    """Whether safetensors is installed: Transformers 5 cannot be without it."""
    return True


def is_remote_url(url_or_filename: str) -> bool:
    """Whether a string is an http or https address.

    Example:
        >>> from headsmith.compat.shims import is_remote_url
        >>> is_remote_url("https://example.org/a"), is_remote_url("a/b")
        (True, False)
    """
    return urlparse(url_or_filename).scheme in ("http", "https")


def no_init_weights(_enable: bool = True) -> AbstractContextManager[Any]:
    """Leave weights as they are allocated, as 4.34's context manager of this name.

    Args:
        _enable: False for a context that does nothing.
    """
    if not _enable:
        return nullcontext()
    from transformers.initialization import no_init_weights as without_initialisation

    context: AbstractContextManager[Any] = without_initialisation()
    return context


def get_parameter_device(parameter: nn.Module) -> torch.device:
    """The device of a module's first parameter, or of its first buffer."""
    return _first_tensor(parameter).device


def get_parameter_dtype(parameter: nn.Module) -> torch.dtype:
    """The dtype of a module's first floating parameter, or of its first tensor."""
    for tensor in parameter.parameters():
        if tensor.is_floating_point():
            return tensor.dtype
    return _first_tensor(parameter).dtype


def _first_tensor(module: nn.Module) -> torch.Tensor:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor
    raise ValueError(f"Expected a module with parameters. Received: {type(module).__name__}.")
