"""Small stand-ins for helpers of Transformers 4 that have lost their subject.

They are what `restore` puts where old files look; new code has no use for them.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlparse

from headsmith.errors import HeadsmithError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "EMPTY_TEXT",
    "FLAX_WEIGHTS_NAME",
    "HUGGINGFACE_CO_RESOLVE_ENDPOINT",
    "TF2_WEIGHTS_NAME",
    "TF_WEIGHTS_NAME",
    "TRUE",
    "get_file_from_repo",
    "get_parameter_device",
    "get_parameter_dtype",
    "is_available",
    "is_flax_available",
    "is_remote_url",
    "is_safetensors_available",
    "is_tensor_of_another",
    "is_tf_available",
    "is_torch_fx_available",
    "is_torch_less_than_1_11",
    "is_unavailable",
    "load_tf_weights",
    "no_init_weights",
    "nothing_said",
    "softmax_backward_data",
    "top_k_top_p_filtering",
    "torch_int_div",
]

_CACHES = ("PYTORCH_PRETRAINED_BERT_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "TRANSFORMERS_CACHE")

EMPTY_TEXT = ""
TRUE = True
HUGGINGFACE_CO_RESOLVE_ENDPOINT = "https://huggingface.co"
FLAX_WEIGHTS_NAME = "flax_model.msgpack"
TF2_WEIGHTS_NAME = "tf_model.h5"
TF_WEIGHTS_NAME = "model.ckpt"
is_torch_less_than_1_11 = False


def __getattr__(name: str) -> Any:
    if name in _CACHES:
        from huggingface_hub.constants import HF_HUB_CACHE

        return HF_HUB_CACHE
    if name == "LOGGER":
        from transformers.utils import logging

        return logging.get_logger("transformers")
    if name in ("EMPTY_LIST", "EMPTY_MAP"):  # a new one each time: it can be added to
        return [] if name == "EMPTY_LIST" else {}
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


def is_available() -> bool:
    """Whether there is what every torch that Transformers 5 takes has: always."""
    return True


def is_unavailable() -> bool:
    """Whether there is what Transformers 5 has no use for: never."""
    return False


def is_tensor_of_another(x: Any) -> bool:
    """Whether `x` is a tensor of TensorFlow or JAX: Transformers 5 knows none."""
    return False


def nothing_said(*args: Any, **kwargs: Any) -> None:
    """Stand in for what told the hub that an example was run: nothing is sent."""


def load_tf_weights(*args: Any, **kwargs: Any) -> NoReturn:
    """Stand in for what read TensorFlow 1 checkpoints into one model; refuses when called.

    Raises:
        HeadsmithError: always.
    """
    raise HeadsmithError(
        "Transformers 5 reads no TensorFlow checkpoints: only the name is kept, so that old files "
        "import. Convert the checkpoint to PyTorch with Transformers 4, save it, and load that."
    )


def get_file_from_repo(
    path_or_repo: str | os.PathLike[str],
    filename: str,
    cache_dir: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> str | None:
    """Where a file of a folder or of the hub is on this machine; None if there is no such file.

    Args:
        path_or_repo: a folder, or a model's name on the hub.
        filename: the file in it.
        cache_dir: where downloads are kept; the hub's own folder if None.
        kwargs: as of `transformers.utils.cached_file`, and `use_auth_token` for its `token`.

    Example:
        >>> from headsmith.compat.shims import get_file_from_repo
        >>> get_file_from_repo(".", "no such file") is None
        True
    """
    from transformers.utils.hub import cached_file

    if "use_auth_token" in kwargs:
        kwargs["token"] = kwargs.pop("use_auth_token")
    kwargs.pop("resume_download", None)
    found: str | None = cached_file(
        path_or_repo,
        filename,
        cache_dir=cache_dir,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **kwargs,
    )
    return found


def softmax_backward_data(
    parent: Any, grad_output: Any, output: Any, dim: Any = None, self: Any = None
) -> Any:
    """The gradient of a softmax; takes the last two arguments, too, that 4.34 asked for.

    Args:
        parent: the context of the function, whose `dim` counts.
        grad_output: the gradient of what came out.
        output: what came out.
        dim: not used.
        self: what went in, for its dtype; that of `output` if None.
    """
    import torch

    dtype = output.dtype if self is None else self.dtype
    return torch._softmax_backward_data(grad_output, output, parent.dim, dtype)


def torch_int_div(tensor1: Any, tensor2: Any) -> Any:
    """Divide and round down."""
    import torch

    return torch.div(tensor1, tensor2, rounding_mode="floor")


def top_k_top_p_filtering(
    logits: torch.Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
    filter_value: float = -float("inf"),
    min_tokens_to_keep: int = 1,
) -> torch.Tensor:
    """Keep the most likely tokens only, as 4.34's function of this name.

    Args:
        logits: (batch, vocabulary).
        top_k: how many tokens are kept; all if 0.
        top_p: the fewest tokens whose probabilities sum to this are kept; all if 1.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many are kept.

    Example:
        >>> import torch
        >>> from headsmith.compat.shims import top_k_top_p_filtering
        >>> top_k_top_p_filtering(torch.tensor([[1.0, 3.0, 2.0]]), top_k=2).tolist()
        [[-inf, 3.0, 2.0]]
    """
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    ids: Any = None
    if top_k > 0:
        logits = TopKLogitsWarper(top_k, filter_value, min_tokens_to_keep)(ids, logits)
    if 0 <= top_p <= 1.0:
        logits = TopPLogitsWarper(top_p, filter_value, min_tokens_to_keep)(ids, logits)
    return logits


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
