import numpy as np
import pytest

from headsmith.spec import reference

H = 6
SHAPES = {
    "start_logits.dense.weight": (1, H),
    "start_logits.dense.bias": (1,),
    "end_logits.dense_0.weight": (H, 2 * H),
    "end_logits.dense_0.bias": (H,),
    "end_logits.LayerNorm.weight": (H,),
    "end_logits.LayerNorm.bias": (H,),
    "end_logits.dense_1.weight": (1, H),
    "end_logits.dense_1.bias": (1,),
    "answer_class.dense_0.weight": (H, 2 * H),
    "answer_class.dense_0.bias": (H,),
    "answer_class.dense_1.weight": (1, H),
}
CONFIG = {"hidden_size": H, "layer_norm_eps": 1e-5, "start_n_top": 3, "end_n_top": 2}
MASK = np.array([[0, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [None, bool, np.int64, np.float64])
def test_predictions(wing, weights_of, rng, dtype):
    weights, x = weights_of(SHAPES), rng.normal(size=(2, 7, H))
    kwargs = {"cls_index": np.array([0, 3])}
    if dtype is not None:
        kwargs["p_mask"] = MASK.astype(dtype)
    got = wing.module("SQuADHead", CONFIG, weights)(x, **kwargs)
    truth = reference.squad_predict(x, weights, eps=1e-5, start_n_top=3, end_n_top=2, **kwargs)
    for mine, theirs in zip(got, truth, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=wing.tolerance)


@pytest.mark.parametrize("answer_start", ["gold", "soft"])
def test_loss(wing, weights_of, rng, answer_start):
    weights, x = weights_of(SHAPES), rng.normal(size=(2, 7, H))
    labels = {
        "start_positions": np.array([1, -100]),
        "end_positions": np.array([3, 9]),
        "cls_index": np.array([0, 2]),
        "is_impossible": np.array([0, 1]),
        "p_mask": MASK,
    }
    (got,) = wing.module("SQuADHead", CONFIG, weights, answer_start=answer_start)(x, **labels)
    truth = reference.squad_loss(x, weights, eps=1e-5, soft_start=answer_start == "soft", **labels)
    np.testing.assert_allclose(got, truth, rtol=wing.tolerance)


def test_a_masked_state_may_hold_anything(wing, weights_of, rng):
    head, x = wing.module("SQuADHead", CONFIG, weights_of(SHAPES)), rng.normal(size=(2, 7, H))
    other = np.where(MASK[..., None] == 1, np.inf, x)
    kwargs = {"cls_index": np.array([1, 3]), "p_mask": MASK}
    for a, b in zip(head(x, **kwargs), head(other, **kwargs), strict=True):
        np.testing.assert_allclose(a, b, atol=wing.tolerance)


def test_more_beams_than_tokens(wing, weights_of, rng):
    head = wing.module("SQuADHead", CONFIG | {"start_n_top": 5, "end_n_top": 9}, weights_of(SHAPES))
    shapes = [x.shape for x in head(rng.normal(size=(2, 4, H)))]
    assert shapes == [(2, 4), (2, 4), (2, 16), (2, 16), (2,)]
