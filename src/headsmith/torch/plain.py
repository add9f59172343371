"""Is a layer what its class says, so that its weights tell all it does?

Some functions compute from a layer's weights and do not call it. An adapter, a quantised layer or
a hook in its place would be passed by in silence: then the layer has to be called.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

__all__ = ["is_plain"]


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether calling the module is what `kind` does with the module's weight.

    Args:
        module: The layer that stands there.
        kind: The class that was put there.

    Returns:
        False for a module of another class or with a `forward` of its own, with hooks on it or
        on all modules, and with a weight that is a wrapper around other tensors (quantised or
        spread over devices).

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> is_plain(layer, nn.Linear)
        True
        >>> _ = layer.register_forward_hook(lambda *_: None)
        >>> is_plain(layer, nn.Linear)
        False
    """
    if not (
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
        and not nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    ):
        return False
    weight = module._parameters.get("weight")
    if weight is None or type(weight) is nn.Parameter or type(weight) is Tensor:
        return True
    return not is_traceable_wrapper_subclass(weight)
