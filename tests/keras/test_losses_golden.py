"""4.34's six mixins: recorded values, shapes, dtypes and gradients, eager and compiled."""

import contextlib

import keras
import numpy as np
import pytest

from headsmith.keras import losses

# Keras caches functions that torch.compile then looks into.
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected")

# 4.34 raised here by accident, or because TensorFlow did: now an answer.
MENDED = {
    "012_labels_bs1": 1,
    "026_legacy_rank2": 2,
    "030_no_config_attr": 1,
    "031_config_without_flag": 1,
    "044_labels_bs1": 1,
    "058_legacy_rank2": 2,
    "062_no_config_attr": 1,
    "063_config_without_flag": 1,
    "076_labels_bs1": 1,
    "090_legacy_rank2": 2,
    "094_no_config_attr": 1,
    "095_config_without_flag": 1,
    "116_minus100": 2,
    "121_oob": 2,
    "129_minus100": 3,
}
LOGITS = {"logits": 0, "logits.0": 0, "logits.1": 1}


@pytest.fixture
def made(engine, golden):
    """Make tensors of the recorded arrays in a nest."""

    def make(value):
        if isinstance(value, golden.Array):
            whole = value.values.dtype.kind in "iub"
            return engine.tensor(value.values, dtype=None if whole else value.dtype)
        if isinstance(value, dict):
            return {key: make(member) for key, member in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(make(member) for member in value)
        return value

    return make


def mixin_of(case):
    mixin = getattr(losses, case["item"])()
    if "config" in case:
        mixin.config = case["config"]
    return mixin


def warned(minus):
    """Expect the warning of labels of -1, or none."""
    if minus:
        return pytest.warns(DeprecationWarning, match="label -1 is deprecated")
    return contextlib.nullcontext()


def assert_output(golden, engine, case, got):
    expected, oracle = case["outputs"], case.get("oracle_float64")
    if "alternative_outputs" in case:  # where 4.34 gave NaN
        expected = case["alternative_outputs"]
    floor = 1e-6 if case["dtype"] == "float64" and engine.name != "tensorflow" else 0.0
    assert keras.backend.standardize_dtype(got.dtype) == expected.dtype
    golden.assert_close(
        engine.array(got),
        expected.values.astype(np.float64),
        atol=max(case["atol"], floor),
        rtol=max(case["rtol"], floor),
        oracle=None if oracle is None else oracle.values,
    )


def assert_gradients(golden, engine, case, mixin, labels, logits, made):
    recorded = case["grads"]["wrt"]
    pair = isinstance(logits, (list, tuple))
    sources = [logits[LOGITS[path]] if pair else logits for path in recorded]

    def call(*tensors):
        return [mixin.hf_compute_loss(labels, type(logits)(tensors) if pair else tensors[0])]

    found = engine.gradients(call, sources, made(case["grads"]["cotangents"]))
    for gradient, truth in zip(found, recorded.values(), strict=True):
        truth = truth.values.astype(np.float64)
        if "alternative_outputs" in case:
            # 4.34's gradient is NaN where it is not right: no gradient where none is due.
            assert np.isfinite(gradient).all()
            truth = np.where(np.isfinite(truth), truth, gradient)
        scale = max(1.0, np.abs(truth).max(initial=0.0))
        golden.assert_close(
            gradient, truth, atol=5 * max(case["atol"], 1e-6) * scale, rtol=5 * case["rtol"]
        )


@pytest.mark.golden("tf_losses")
def test_mixin(case, engine, golden, made):
    with engine.precise(case["dtype"]):
        mixin = mixin_of(case)
        labels, logits = made(case["args"])
        name = case["id"].partition("/")[2]
        if name in MENDED:
            got = engine.array(mixin.hf_compute_loss(labels, logits))
            assert got.shape == (MENDED[name],)
            assert np.isfinite(got).all()
            return
        if "raises" in case:
            with pytest.raises((ValueError, KeyError)) as raised:
                mixin.hf_compute_loss(labels, logits)
            golden.assert_raised(raised.value, case["raises"])
            return
        minus = case["item"].startswith("TFToken") and (case["args"][0].values == -1).any()
        with warned(minus):
            assert_output(golden, engine, case, mixin.hf_compute_loss(labels, logits))
        legacy = "legacy" in name
        if not legacy:
            got = engine.compiled(mixin.hf_compute_loss, (labels, logits), {})
            assert_output(golden, engine, case, got)
        with warned(minus):
            assert_gradients(golden, engine, case, mixin, labels, logits, made)


@pytest.mark.golden("tf_losses")
def test_out_of_range_in_a_graph(case, engine, made):
    """NaN where the label is out of range, as 4.34 gave when compiled."""
    name = case["id"].partition("/")[2]
    if "xla_outputs" not in case or name in MENDED:
        pytest.skip("not such a case")
    labels, logits = made(case["args"])
    got = engine.compiled(mixin_of(case).hf_compute_loss, (labels, logits), {})
    np.testing.assert_array_equal(np.isnan(engine.array(got)), np.isnan(case["xla_outputs"].values))
