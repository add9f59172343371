"""Functions that model modules had copies of, against what they are said to do, place by place."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from headsmith.compat import model_helpers as helpers
from headsmith.compat import restored


@pytest.mark.parametrize("past", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_causal_masks(past: int, dtype: torch.dtype) -> None:
    hidden = np.array([[k > q + past for k in range(3 + past)] for q in range(3)])
    boolean = helpers.boolean_causal_mask((2, 3), None, past)
    assert boolean.shape == (2, 1, 3, 3 + past)
    assert (boolean[1, 0].numpy() == hidden).all()
    added = helpers.causal_mask((2, 3), dtype, torch.device("cpu"), past)
    assert added.dtype == dtype
    expected = np.where(hidden, torch.finfo(dtype).min, 0)
    assert (added[0, 0].double().numpy() == expected).all()


def test_masks_of_padding() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    seen = np.broadcast_to(mask.numpy()[:, None, None, :] == 1, (2, 1, 4, 3))
    lowest = torch.finfo(torch.float32).min
    for added in (
        helpers.expand_mask(mask, torch.float32, 4),
        helpers.expand_mask(mask, torch.float32, target_len=4),
    ):
        assert (added.numpy() == np.where(seen, 0, lowest)).all()
    assert helpers.expand_mask(mask, torch.float32).shape == (2, 1, 3, 3)
    assert (helpers.expand_boolean_mask(mask, 4).numpy() == ~seen).all()
    assert helpers.expand_boolean_mask_of_falcon(mask, 1).shape == (2, 1, 2, 3)


def test_positions_and_lengths() -> None:
    ids = torch.tensor([[1, 5, 6], [7, 1, 1]])
    positions = helpers.create_position_ids_from_input_ids(ids, 1)
    assert positions.tolist() == [[1, 2, 3], [2, 1, 1]]
    later = helpers.create_position_ids_from_input_ids(ids, 1, 4)
    assert later.tolist() == [[1, 6, 7], [6, 1, 1]]
    indices, ends, longest = helpers.get_unpad_data(torch.tensor([[0, 1, 1], [1, 0, 0]]))
    assert indices.tolist() == [1, 2, 3]
    assert ends.tolist() == [0, 2, 3]
    assert ends.dtype == torch.int32
    assert longest == 2


def test_dropped_paths() -> None:
    x = torch.ones(4000, 2)
    assert helpers.drop_path(x, 0.5) is x
    assert helpers.drop_path(x, 0.0, training=True) is x
    dropped = helpers.drop_path(x, 0.25, training=True)
    assert set(dropped.flatten().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert abs(dropped.mean().item() - 1) < 0.05


def test_restored_in_model_modules() -> None:
    with restored():
        opt = importlib.import_module("transformers.models.opt.modeling_opt")
        bloom = importlib.import_module("transformers.models.bloom.modeling_bloom")
        bert = importlib.import_module("transformers.models.bert.modeling_bert")
        config = importlib.import_module("transformers.models.bert.configuration_bert")
        assert opt._expand_mask is helpers.expand_mask
        assert opt._make_causal_mask is helpers.causal_mask
        assert bloom._make_causal_mask is helpers.boolean_causal_mask
        assert bert.BERT_INPUTS_DOCSTRING == ""
        assert bert.BERT_PRETRAINED_MODEL_ARCHIVE_LIST == []
        assert config.BERT_PRETRAINED_CONFIG_ARCHIVE_MAP == {}
        config.BERT_PRETRAINED_CONFIG_ARCHIVE_MAP["a"] = "b"
        assert config.BERT_PRETRAINED_CONFIG_ARCHIVE_MAP == {}
        with pytest.raises(AttributeError, match="no_such_name"):
            bert.no_such_name  # noqa: B018
    assert not hasattr(opt, "_expand_mask")


def test_fast_tokenizers_in_their_old_modules() -> None:
    with restored():
        module = importlib.import_module("transformers.models.bert.tokenization_bert_fast")
        assert module.BertTokenizerFast.__name__.startswith("Bert")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("transformers.models.bert.modeling_no_such")
