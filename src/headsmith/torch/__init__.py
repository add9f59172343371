"""PyTorch layers and helpers of the Transformers 4.34 page "Custom Layers and Utilities".

Names, signatures, weight names and results are those of 4.34; what was mended is told in each
docstring. Needs PyTorch alone.
"""

from __future__ import annotations

from headsmith.torch.chunking import apply_chunking_to_forward
from headsmith.torch.conv1d import Conv1D, conv1d
from headsmith.torch.heads import find_pruneable_heads_and_indices
from headsmith.torch.slicing import prune_conv1d_layer, prune_layer, prune_linear_layer

__all__ = [
    "Conv1D",
    "apply_chunking_to_forward",
    "conv1d",
    "find_pruneable_heads_and_indices",
    "prune_conv1d_layer",
    "prune_layer",
    "prune_linear_layer",
]
