import numpy as np
import pytest

from headsmith.spec import reference

H = 4
MASKS = {
    "none": None,
    "right": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    "left": np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["last", "first", "mean", "cls_index"])
def test_each_type(wing, weights_of, rng, kind, mask):
    x = rng.normal(size=(2, 5, H))
    config = {
        "hidden_size": H,
        "summary_type": kind,
        "summary_use_proj": True,
        "summary_proj_to_labels": True,
        "num_labels": 3,
        "summary_activation": "tanh",
    }
    weights = weights_of({"summary.weight": (3, H), "summary.bias": (3,)})
    kwargs = {} if MASKS[mask] is None else {"attention_mask": MASKS[mask]}
    if kind == "cls_index":
        kwargs["cls_index"] = np.array([1, 4])
    got = wing.module("SequenceSummary", config, weights)(x, **kwargs)
    pooled = reference.summarize(x, kind, **kwargs)
    truth = np.tanh(pooled @ weights["summary.weight"].T + weights["summary.bias"])
    np.testing.assert_allclose(got, truth, atol=wing.tolerance)


@pytest.mark.parametrize("mask", MASKS)
def test_attention(wing, weights_of, rng, mask):
    x = rng.normal(size=(2, 5, H))
    config = {"hidden_size": H, "summary_type": "attn", "summary_use_proj": False}
    config["summary_num_heads"] = 2
    shapes = {"query": (2, 2), "key.weight": (H, H), "value.weight": (H, H), "value.bias": (H,)}
    shapes |= {"output.weight": (H, H), "output.bias": (H,)}
    weights = weights_of({f"attention.{name}": shape for name, shape in shapes.items()})
    kwargs = {} if MASKS[mask] is None else {"attention_mask": MASKS[mask]}
    got = wing.module("SequenceSummary", config, weights)(x, **kwargs)
    own = {name.removeprefix("attention."): value for name, value in weights.items()}
    np.testing.assert_allclose(
        got, reference.attention_pool(x, own, MASKS[mask]), atol=wing.tolerance
    )
