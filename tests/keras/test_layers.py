"""What every layer promises as a Keras layer, and what it does beyond 4.34."""

from dataclasses import dataclass
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from headsmith import keras as wing
from headsmith.convert import to_keras
from headsmith.keras.activations import ACTIVATIONS, get_activation
from headsmith.keras.end_logits import EndWeights, end_scores
from headsmith.spec import reference
from headsmith.spec.configs import SUMMARY_TYPES, SquadHeadConfig, SummaryConfig

H = 8
SQUAD = {"hidden_size": H, "layer_norm_eps": 1e-5, "start_n_top": 3, "end_n_top": 2}
SUMMARY = {
    "hidden_size": H,
    "summary_type": "mean",
    "summary_use_proj": True,
    "summary_activation": "tanh",
    "summary_first_dropout": 0.1,
}


def numbers(x):
    x = ops.cast(x, "float32") if "float" in keras.backend.standardize_dtype(x.dtype) else x
    return ops.convert_to_numpy(x)


def flat(outputs):
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def call(engine, layer, x):
    """Call a layer; JAX compiles every operation in eager mode, so there as one graph."""
    return engine.compiled(layer, (engine.tensor(x),), {}) if engine.name == "jax" else layer(x)


def same(a, b, **tolerance):
    for x, y in zip(flat(a), flat(b), strict=True):
        np.testing.assert_allclose(numbers(x), numbers(y), **{"atol": 1e-5, **tolerance})


MAKERS = {
    "Conv1D": lambda **kw: wing.Conv1D(6, H, **kw),
    "SequenceSummary": lambda **kw: wing.SequenceSummary(SUMMARY, **kw),
    "attn": lambda **kw: wing.SequenceSummary(
        {**SUMMARY, "summary_type": "attn", "summary_num_heads": 2}, **kw
    ),
    "PoolerStartLogits": lambda **kw: wing.PoolerStartLogits(SQUAD, **kw),
    "SQuADHead": lambda **kw: wing.SQuADHead(SQUAD, answer_start="soft", **kw),
    "log_probs": lambda **kw: wing.SQuADHead(SQUAD, log_probs=True, chunk_size=2, **kw),
}


@pytest.mark.parametrize("name", MAKERS)
def test_functional_with_unknown_dimensions_and_config_round_trip(name, engine, rng):
    layer = MAKERS[name](name=f"mine_{name}")
    inputs = keras.Input((None, H))
    model = keras.Model(inputs, layer(inputs))
    for batch, length in ((2, 5), (3, 7)):
        x = rng.normal(size=(batch, length, H)).astype("float32")
        eager = call(engine, layer, x)
        same(call(engine, model, x), eager)
        for made, told in zip(flat(eager), flat(model.outputs), strict=True):
            assert len(made.shape) == len(told.shape)
            assert all(b in (None, a) for a, b in zip(made.shape, told.shape, strict=True))
            assert keras.backend.standardize_dtype(made.dtype) == told.dtype
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build((None, None, H))
    copy.set_weights(layer.get_weights())
    same(call(engine, copy, x), eager)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("name", MAKERS)
def test_policies(name, policy, engine, rng):
    layer, plain = MAKERS[name](dtype=policy), MAKERS[name]()
    x = rng.normal(size=(2, 5, H)).astype("float32")
    layer.build((None, None, H))
    plain.build((None, None, H))
    plain.set_weights(layer.get_weights())
    for weight in layer.weights:
        assert keras.backend.standardize_dtype(weight.dtype) == layer.variable_dtype
    outputs = flat(call(engine, layer, x))
    told = flat(layer.compute_output_spec(keras.KerasTensor(x.shape)))
    expected = flat(call(engine, plain, x))
    for made, promised, exact in zip(outputs, told, expected, strict=True):
        assert keras.backend.standardize_dtype(made.dtype) == promised.dtype
        if "int" not in promised.dtype:
            np.testing.assert_allclose(numbers(made), numbers(exact), atol=0.03)


def test_the_layers_own_the_4_34_names():
    assert wing.TFConv1D is wing.Conv1D
    assert wing.TFSequenceSummary is wing.SequenceSummary


def test_conv1d_draws_what_4_34_drew():
    layer = wing.Conv1D(300, 200)
    layer.build((None, 200))
    weight = numbers(layer.weight)
    assert weight.shape == (200, 300)
    assert abs(weight).max() <= 0.04 + 1e-6  # truncated at two deviations
    assert 0.016 < weight.std() < 0.02
    assert numbers(layer.bias).shape == (1, 300)
    assert not numbers(layer.bias).any()


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 3, 5, 4), (0, 5, 4), (2, 0, 4)])
def test_conv1d_of_any_rank(shape, rng):
    layer = wing.Conv1D(6, 4)
    x = rng.normal(size=shape).astype("float32")
    got = numbers(layer(x))
    np.testing.assert_allclose(got, x @ numbers(layer.weight) + numbers(layer.bias)[0], atol=1e-5)
    assert layer.compute_output_shape(shape) == (*shape[:-1], 6)


def test_conv1d_without_inputs_gives_its_bias():
    layer = wing.Conv1D(3, 0)
    layer.build()
    layer.bias.assign(np.array([[1.0, 2.0, 3.0]]))
    same(layer(np.ones((2, 5, 0), "float32")), np.tile([1.0, 2.0, 3.0], (2, 5, 1)))


def test_keras_masks_pass_through_conv1d_and_count_in_a_summary(rng):
    ids = np.array([[1, 2, 0, 0], [3, 1, 2, 1]])
    embed = keras.layers.Embedding(5, H, mask_zero=True)
    conv, summary = wing.Conv1D(H, H), wing.SequenceSummary(SUMMARY)
    states = conv(embed(ids))
    same(summary(states), summary(ops.array(numbers(states)), attention_mask=ids != 0))
    pooler = wing.PoolerAnswerClass(SQUAD)
    start = ops.array([0, 1])
    same(
        pooler(states, start_positions=start),
        pooler(ops.array(numbers(states)), start_positions=start, cls_index=ops.array([1, 3])),
    )


@pytest.mark.parametrize("kind", SUMMARY_TYPES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(kind, side, rng):
    config = {**SUMMARY, "summary_type": kind, "summary_num_heads": 2}
    layer = wing.SequenceSummary(config)
    x = rng.normal(size=(2, 4, H)).astype("float32")
    padding = np.full((2, 3, H), np.inf, "float32")
    left = side == "left"
    padded = np.concatenate((padding, x) if left else (x, padding), 1)
    ones, zeros = np.ones((2, 4)), np.zeros((2, 3))
    mask = np.concatenate((zeros, ones) if left else (ones, zeros), 1)
    for dtype in ("bool", "int32", "float32"):
        same(layer(padded, attention_mask=mask.astype(dtype)), layer(x))
    same(layer({"hidden_states": padded, "attention_mask": mask}), layer(x))


def test_indices_of_every_rank(rng):
    layer = wing.SequenceSummary(SimpleNamespace(summary_type="cls_index", summary_use_proj=False))
    x = rng.normal(size=(2, 3, 5, H)).astype("float32")
    at = np.array([[0, 1, 4], [2, 2, 3]])
    truth = np.stack([[x[i, j, at[i, j]] for j in range(3)] for i in range(2)])
    same(layer(x, at), truth)
    same(layer(x, at[..., None]), truth)
    both = np.stack([at, at[:, ::-1]], -1)[:, :, None]
    truth = np.stack([[x[i, j, both[i, j, 0]] for j in range(3)] for i in range(2)])
    same(layer(x, both), truth)
    same(layer(x), x[:, :, -1])


def test_attention_is_the_truth(rng):
    config = {"hidden_size": H, "summary_type": "attn", "summary_use_proj": False}
    layer = wing.SequenceSummary({**config, "summary_num_heads": 4})
    layer.build()
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.weights])
    x = rng.normal(size=(2, 3, 5, H)).astype("float32")
    from headsmith.convert import state_dict

    weights = state_dict(layer, prefix="attention")
    for i in range(2):
        truth = reference.attention_pool(x[i], weights)
        np.testing.assert_allclose(numbers(layer(x))[i], truth, atol=1e-5)


def test_dropouts():
    x = np.ones((2, 5, H), "float32")
    config = SimpleNamespace(summary_use_proj=False, summary_type="mean", summary_last_dropout=0.9)
    layer = wing.SequenceSummary(config)
    dropped = numbers(layer(x, training=True))
    assert (np.isclose(dropped, 0) | np.isclose(dropped, 10)).all()
    assert not dropped.all()
    assert numbers(layer(x)).all()
    if keras.config.backend() == "tensorflow" and keras.__version__.startswith("3.10."):
        return  # which refuses to drop everything
    config.summary_last_dropout = 1.0
    layer = wing.SequenceSummary(config)
    assert not numbers(layer(x, training=True)).any()
    assert numbers(layer(x)).all()


def test_a_type_beside_the_config():
    x = np.arange(12.0, dtype="float32").reshape(1, 3, 4)
    with pytest.warns(UserWarning, match="'first' is not used.*Set `config.summary_use_proj`"):
        as_4_34 = wing.SequenceSummary(SimpleNamespace(summary_type="first"))
    same(as_4_34(x), x[:, -1])
    same(wing.SequenceSummary(SimpleNamespace(), summary_type="first")(x), x[:, 0])
    explicit = wing.SequenceSummary({"summary_type": "first", "summary_use_proj": False})
    same(explicit(x), x[:, 0])
    same(wing.SequenceSummary.from_config(explicit.get_config())(x), x[:, 0])
    same(wing.SequenceSummary(SummaryConfig(summary_type="first"))(x), x[:, 0])


@dataclass
class MyConfig:
    hidden_size: int = H
    layer_norm_eps: float = 1e-5
    start_n_top: int = 3
    end_n_top: int = 2


def test_any_config_will_do(rng):
    x = rng.normal(size=(2, 5, H)).astype("float32")
    first = wing.SQuADHead(SQUAD)
    expected = first(x)
    for config in (MyConfig(), SimpleNamespace(**SQUAD), SquadHeadConfig(**SQUAD)):
        head = wing.SQuADHead(config)
        head.build()
        head.set_weights(first.get_weights())
        assert head.get_config()["config"] == SQUAD
        same(head(x), expected)


def test_no_pairs_of_states_are_made():
    """The widest tensor of a beam search is (batch, seq, H), not (batch, seq, starts, 2H)."""
    seen = []
    weights = EndWeights(
        ops.ones((2 * H, H)), ops.zeros(H), ops.ones(H), ops.zeros(H), ops.ones((H, 1)), None, 0.1
    )
    original = ops.tanh

    def watched(x):
        seen.append(tuple(x.shape))
        return original(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "tanh", watched)
        end_scores(ops.ones((2, 6, 1, H)), ops.ones((2, 1, 3, H)), weights)
    assert seen == [(2, 6, H)] * 3


def test_chunks_change_nothing(engine, rng):
    x = engine.tensor(rng.normal(size=(2, 7, H)).astype("float32"))
    start = engine.tensor(rng.normal(size=(2, 1, H)).astype("float32"))
    whole = wing.PoolerEndLogits(SQUAD)
    parts = wing.PoolerEndLogits(SQUAD, chunk_size=3)
    whole.build()
    parts.build()
    parts.set_weights(whole.get_weights())
    same(parts(x, start_states=start), whole(x, start_states=start))
    cotangent = [engine.tensor(rng.normal(size=(2, 7)).astype("float32"))]
    found = [
        engine.gradients(
            lambda x, s, layer=layer: [layer(x, start_states=s)],
            [x, start, *layer.trainable_weights],
            cotangent,
        )
        for layer in (whole, parts)
    ]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_replaced_layer_is_called(rng):
    class Loud(keras.layers.Dense):
        def call(self, x):
            return super().call(x) + 1.0

    pooler, x = wing.PoolerEndLogits(SQUAD), rng.normal(size=(2, 5, H)).astype("float32")
    start = rng.normal(size=(2, 1, H)).astype("float32")
    plain = pooler(x, start_states=start)
    loud = Loud(1, name="dense_1")
    twin = wing.PoolerEndLogits(SQUAD)
    twin.dense_1 = loud
    twin.build()
    twin.dense_0.set_weights(pooler.dense_0.get_weights())
    loud.set_weights(pooler.dense_1.get_weights())
    same(twin(x, start_states=start), numbers(plain) + 1.0)


def test_a_replaced_projection_of_a_summary_is_called(rng):
    class Loud(keras.layers.Dense):
        def call(self, x):
            return super().call(x) + 1.0

    config = SummaryConfig(hidden_size=H, summary_type="last", summary_use_proj=True)
    plain, loud = wing.SequenceSummary(config), wing.SequenceSummary(config)
    loud.summary = Loud(H, name="summary")
    x = rng.normal(size=(2, 5, H)).astype("float32")
    wanted = numbers(plain(x)) + 1.0
    loud.build()
    loud.summary.set_weights(plain.summary.get_weights())
    same(loud(x), wanted)


def test_loss_and_predictions_in_one_call(engine, rng):
    head = wing.SQuADHead(SQUAD)
    x = engine.tensor(rng.normal(size=(2, 7, H)).astype("float32"))
    labels = {
        "start_positions": np.array([[1], [-100]]),
        "end_positions": np.array([3, 4], "int32"),
        "cls_index": np.array([0, 6]),
        "is_impossible": np.array([False, True]),
    }
    both = head(x, **labels, return_predictions=True, return_dict=True)
    assert next(iter(both)) == "loss"
    same(both["loss"], head(x, **labels)[0])
    same(flat(both)[1:], head(x, cls_index=labels["cls_index"]))
    (gradient,) = engine.gradients(
        lambda x: [head(x, **labels)[0] + ops.sum(head(x, **labels, return_predictions=True)[1])],
        [x],
        [ops.ones(())],
    )
    (alone,) = engine.gradients(lambda x: [head(x, **labels)[0]], [x], [ops.ones(())])
    np.testing.assert_allclose(gradient, alone, atol=1e-6)


def test_positions_as_floats_are_not_rounded():
    """A 16-bit policy would make 2048 of 2049."""
    head = wing.SQuADHead({**SQUAD, "start_n_top": 1, "end_n_top": 1}, dtype="mixed_float16")
    x = np.zeros((1, 2051, H), "float32")
    x[0, 2049] = 30.0
    labels = np.array([2049])
    exact = head(x, labels, labels)[0]
    same(head(x, labels.astype("float32"), labels.astype("float32"))[0], exact)


def test_masked_states_reach_no_gradient(engine, rng):
    head = wing.SQuADHead(SQUAD)
    x = rng.normal(size=(2, 5, H)).astype("float32")
    mask = np.array([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]])
    bad = np.where(mask[..., None] == 1, np.float32("nan"), x)
    positions = engine.tensor(np.array([1, 2]))

    def call(x):
        return [
            head(x, positions, positions, p_mask=mask)[0],
            *head(x, p_mask=mask, cls_index=positions)[:1],
        ]

    head.build()
    sources = [engine.tensor(bad), *head.trainable_weights]
    cotangents = [ops.ones(()), ops.ones((2, 3))]
    for gradient in engine.gradients(call, sources, cotangents):
        assert gradient is None or np.isfinite(gradient).all()


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"glu"}))
def test_activations_are_those_of_the_pytorch_wing(name):
    torch = pytest.importorskip("torch")
    from headsmith.torch.activations import ACTIVATIONS as THEIRS

    x = np.linspace(-12, 12, 101).astype("float32")
    truth = THEIRS[name](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(numbers(get_activation(name)(ops.array(x))), truth, atol=2e-6)


def test_glu_halves():
    x = np.array([[1.0, 2.0, 0.0, 100.0]], "float32")
    same(get_activation("glu")(ops.array(x)), np.array([[0.5, 2.0]]))
    config = {**SUMMARY, "summary_activation": "glu"}
    layer, inputs = wing.SequenceSummary(config), keras.Input((None, H))
    assert layer(inputs).shape == (None, H // 2)
    assert tuple(layer(np.ones((2, 3, H), "float32")).shape) == (2, H // 2)


X = np.ones((2, 5, H), "float32")
MISTAKES = {
    "config is a number": (lambda: wing.SQuADHead(8), TypeError, r"expects `config`.*Received: 8"),
    "config is a class": (
        lambda: wing.SequenceSummary(SummaryConfig),
        TypeError,
        "expects `config` to be an object",
    ),
    "missing field": (
        lambda: wing.SQuADHead({"hidden_size": 8}),
        AttributeError,
        "reads `layer_norm_eps`",
    ),
    "activation": (
        lambda: wing.SequenceSummary({**SUMMARY, "summary_activation": "bogus"}),
        KeyError,
        "Expected the name of an activation.*Received: 'bogus'",
    ),
    "type": (
        lambda: wing.SequenceSummary({**SUMMARY, "summary_type": "bogus"}),
        ValueError,
        "one of 'last', 'first'.*Received: 'bogus'",
    ),
    "width": (
        lambda: wing.Conv1D(6, 4)(X),
        ValueError,
        r"\(\.\.\., nx=4\)\. Received: \(2, 5, 8\)",
    ),
    "size": (lambda: wing.Conv1D(-1, 4), ValueError, "expects `nf`.*Received: -1"),
    "rank": (
        lambda: wing.SequenceSummary(SUMMARY)(X[0]),
        ValueError,
        r"\(batch, \.\.\., seq, hidden\)\. Received: \(5, 8\)",
    ),
    "hidden size": (
        lambda: wing.SequenceSummary(SUMMARY)(X[..., :4]),
        ValueError,
        r"hidden_size, 8\. Received: \(2, 5, 4\)",
    ),
    "index": (
        lambda: wing.SequenceSummary({**SUMMARY, "summary_type": "cls_index"})(X, np.array([0, 5])),
        ValueError,
        r"positions in \[0, 5\)\. Received: \[0, 5\]",
    ),
    "index shape": (
        lambda: wing.SequenceSummary({**SUMMARY, "summary_type": "cls_index"})(
            X, np.zeros((2, 2), int)
        ),
        ValueError,
        r"\(\.\.\., 1, n\).*Received: \(2, 2\) beside \(2, 5, 8\)",
    ),
    "mask shape": (
        lambda: wing.SequenceSummary(SUMMARY)(X, attention_mask=np.ones((2, 4))),
        ValueError,
        r"Received: \(2, 4\) beside \(2, 5, 8\)",
    ),
    "no start": (lambda: wing.PoolerEndLogits(SQUAD)(X), ValueError, "Received: neither"),
    "rows": (
        lambda: wing.SQuADHead(SQUAD)(X, np.zeros(3, int), np.zeros(3, int)),
        ValueError,
        r"`start_positions` of shape \(batch,\).*Received: \(3,\)",
    ),
    "cls_index": (
        lambda: wing.SQuADHead(SQUAD)(X, cls_index=np.array([0, -1])),
        ValueError,
        r"positions in \[0, 5\)",
    ),
    "answer_start": (
        lambda: wing.SQuADHead(SQUAD, answer_start="hard"),
        ValueError,
        "Received: 'hard'",
    ),
    "no states": (
        lambda: wing.SequenceSummary(SUMMARY)({"cls_index": np.array([0])}),
        ValueError,
        r"Received: the keys \['cls_index'\]",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(mistake):
    make, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=f"(?s){message}"):
        make()


def test_the_state_of_the_pytorch_head_gives_its_predictions(rng):
    torch = pytest.importorskip("torch")
    from headsmith.torch import SQuADHead

    theirs, x = SQuADHead(SimpleNamespace(**SQUAD)), rng.normal(size=(2, 9, H)).astype("float32")
    ours = to_keras(theirs, wing.SQuADHead(SQUAD))
    with torch.no_grad():
        expected = [v.numpy() for v in theirs(torch.from_numpy(x))]
    same(ours(x), expected)


def test_squad_head_takes_an_empty_batch():
    head = wing.SQuADHead(SQUAD)
    found = head(np.zeros((0, 5, H), "float32"))
    assert [tuple(x.shape) for x in found] == [(0, 3), (0, 3), (0, 6), (0, 6), (0,)]
    assert tuple(wing.pair_spans(*found[:4]).end_index.shape) == (0, 3, 2)
