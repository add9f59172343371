"""The linear layer of GPT and GPT-2, which keeps its weight transposed.

The name comes from the OpenAI code for GPT (Radford et al. 2018), where the layer is a
convolution of width 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Conv1D", "conv1d"]


def conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `x @ weight + bias`.

    Args:
        x: Floating tensor of shape (..., nx), any leading dimensions, contiguous or not.
        weight: Tensor of shape (nx, nf), in the dtype of `x` unless autocast is on.
        bias: Tensor of shape (nf,), or None for no bias.

    Returns:
        Tensor of shape (..., nf) in the dtype of `x`.

    Raises:
        RuntimeError: The last dimension of `x` is not nx, or the dtypes differ.

    Example:
        >>> import torch
        >>> conv1d(torch.ones(2, 5, 4), torch.ones(4, 6), torch.zeros(6)).shape
        torch.Size([2, 5, 6])
    """
    # PyTorch would say "mat1 and mat2 shapes cannot be multiplied", naming neither the layer nor
    # its orientation. The error is of the type that message comes with.
    if x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise RuntimeError(
            f"Expected an input of shape (..., nx={weight.shape[0]}). Received: {tuple(x.shape)}."
        )
    return nn.functional.linear(x, weight.t(), bias)


class Conv1D(nn.Module):
    """A linear layer with a weight of shape (nx, nf), as GPT-2 stores it.

    As in Transformers 4.34: the order of the arguments, the names and shapes of the
    parameters, and the initial values drawn. Mended: inputs need not be contiguous, inputs
    and outputs may be 0 wide, the layer knows `nx` and prints its sizes, and dtype and device
    can be given.

    Args:
        nf: Number of output features.
        nx: Number of input features.
        device: Where to put the parameters; the default device if None.
        dtype: Their dtype; the default dtype if None.

    Attributes:
        weight: Parameter of shape (nx, nf), at first normal with standard deviation 0.02.
        bias: Parameter of shape (nf,), at first zeros.

    Example:
        >>> import torch
        >>> layer = Conv1D(6, 4)
        >>> layer
        Conv1D(nf=6, nx=4)
        >>> layer(torch.ones(2, 5, 4)).shape
        torch.Size([2, 5, 6])
    """

    def __init__(
        self,
        nf: int,
        nx: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.nf = nf
        self.nx = nx
        self.weight = nn.Parameter(torch.empty(nx, nf, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(nf, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight from a normal distribution (0, 0.02) and set the bias to zero."""
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., nx) to (..., nf); see `conv1d`."""
        return conv1d(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Say the sizes, for `print`."""
        return f"nf={self.nf}, nx={self.nx}"
