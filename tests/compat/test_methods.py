"""The methods that were put back, against what 4.34 computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compat.conftest import has_its_own
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from headsmith.compat import methods

pytestmark = pytest.mark.usefixtures("restored")

own_masks = pytest.mark.skipif(
    has_its_own("get_extended_attention_mask"),
    reason="this Transformers has the method, and it is not replaced",
)
LOWEST = np.finfo(np.float32).min


@pytest.fixture
def model(restored: None) -> BertModel:
    config = BertConfig(vocab_size=9, hidden_size=12, num_hidden_layers=2,
                        num_attention_heads=3, intermediate_size=8)  # fmt: skip
    return BertModel(config).eval()


def _causal(mask: np.ndarray, queries: int) -> np.ndarray:
    batch, keys = mask.shape
    allowed = np.zeros((batch, 1, queries, keys), dtype=np.float32)
    for b in range(batch):
        for i in range(queries):
            for j in range(keys):
                allowed[b, 0, i, j] = mask[b, j] * (j <= i + keys - queries)
    return allowed


@pytest.mark.parametrize("keys", [4, 6])
def test_a_decoder_sees_what_came_before(model: BertModel, keys: int) -> None:
    mask = np.ones((2, keys), dtype=np.int64)
    mask[1, 0] = 0
    model.config.is_decoder = True
    got = model.get_extended_attention_mask(torch.from_numpy(mask), (2, 4))
    np.testing.assert_array_equal(got.numpy(), (1 - _causal(mask, 4)) * LOWEST)
    made = model.create_extended_attention_mask_for_decoder((2, 4), torch.from_numpy(mask))
    np.testing.assert_array_equal(made.numpy(), _causal(mask, 4))


@own_masks
@pytest.mark.parametrize("third", ["cpu", torch.device("cpu"), torch.float16, None])
def test_the_third_argument_may_be_a_device_or_a_dtype(model: BertModel, third: object) -> None:
    got = model.get_extended_attention_mask(torch.tensor([[1, 0]]), (1, 2), third)
    dtype = third if isinstance(third, torch.dtype) else torch.float32
    assert got.dtype == dtype
    assert got.tolist() == [[[[0.0, torch.finfo(dtype).min]]]]


def test_three_dimensions_are_taken_as_they_are(model: BertModel) -> None:
    mask = torch.tensor([[[1, 0], [1, 1]]])
    expected = [[[[0.0, float(LOWEST)], [0.0, 0.0]]]]
    assert model.get_extended_attention_mask(mask, (1, 2)).tolist() == expected
    assert model.invert_attention_mask(mask).tolist() == expected


@own_masks
@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4)])
def test_other_dimensions_are_refused(model: BertModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(batch, from, to\)"):
        model.invert_attention_mask(torch.ones(shape))
    with pytest.raises(ValueError, match=r"\(batch, from, to\)"):
        model.get_extended_attention_mask(torch.ones(shape), (1, 2))


@pytest.mark.needs_v5("4.57 has the method, and it is not replaced")
def test_head_masks_take_five_dimensions(model: BertModel) -> None:
    assert model.get_head_mask(None, 2) == [None, None]
    one = model.get_head_mask(torch.tensor([1, 0, 1]), 2)
    assert one.shape == (2, 1, 3, 1, 1)
    assert one.dtype == torch.float32
    each = model.get_head_mask(torch.arange(6).view(2, 3), 2)
    assert each[1, 0, :, 0, 0].tolist() == [3.0, 4.0, 5.0]
    whole = torch.ones(2, 4, 3, 5, 5)
    assert model.get_head_mask(whole, 2).shape == whole.shape
    assert model.get_head_mask(torch.ones(3), 2, is_attention_chunked=True).shape[-1] == 1
    with pytest.raises(ValueError, match="head mask"):
        model.get_head_mask(torch.ones(2, 3, 4), 2)


def test_operations_are_counted(model: BertModel, caplog: pytest.LogCaptureFixture) -> None:
    ids = torch.ones(2, 3, dtype=torch.long)
    assert model.estimate_tokens({"input_ids": ids}) == 6
    parameters = model.num_parameters(exclude_embeddings=True)
    assert model.floating_point_ops({"input_ids": ids}) == 6 * 6 * parameters
    for _ in range(2):
        assert model.estimate_tokens({}) == 0
    assert len(caplog.records) == 1


@pytest.mark.needs_v5("4.57 has the method, and it is not replaced")
def test_prune_heads_of_a_native_model_prunes_it(model: BertModel) -> None:
    model.prune_heads({0: [1], "1": [0]})
    attention = model.encoder.layer[0].attention
    assert attention.self.query.out_features == 8
    assert model.encoder.layer[1].attention.self.query.out_features == 8
    model.prune_heads({0: [1, 2]})
    assert attention.self.query.out_features == 4


def test_tie_or_clone() -> None:
    config = GPT2Config(vocab_size=7, n_embd=4, n_layer=1, n_head=1, n_positions=4)
    model = GPT2LMHeadModel(config)
    output = torch.nn.Linear(4, 5)
    model._tie_or_clone_weights(output, model.transformer.wte)
    assert output.weight is model.transformer.wte.weight
    assert output.bias.shape == (7,)
    assert output.out_features == 7
    config.torchscript = True
    model._tie_or_clone_weights(output, model.transformer.wte)
    assert output.weight is not model.transformer.wte.weight
    assert torch.equal(output.weight, model.transformer.wte.weight)


def test_heads_by_layer() -> None:
    assert methods.heads_by_layer({"3": (1,)}) == {3: [1]}
