"""What scoring is given: told apart from data and models it cannot work with."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import TINY_MODELS, batch_for

from headsmith.errors import DataError, HeadsmithError
from headsmith.pruning import prune, prune_heads


@pytest.mark.parametrize("kind", ["a batch", "a stream"])
def test_batches_are_a_list(kind: str) -> None:
    model = TINY_MODELS["bert"]()
    batch = batch_for(model)
    given: Any = batch if kind == "a batch" else iter([batch])
    with pytest.raises(DataError, match=rf"Received a {type(given).__name__}: give \[batch\]"):
        prune(model, given, flops=0.5)


def test_a_model_without_values_is_told() -> None:
    model = TINY_MODELS["bert"]()
    with pytest.raises(HeadsmithError, match=r"not in memory.*first 'embeddings\.word"):
        prune(model.to("meta"), [batch_for(TINY_MODELS["bert"]())], flops=0.5)


def test_layers_are_numbers() -> None:
    model: Any = TINY_MODELS["bert"]()
    with pytest.raises(ValueError, match="There is no layer '0'"):
        prune_heads(model, {"0": [1]})  # type: ignore[dict-item]
