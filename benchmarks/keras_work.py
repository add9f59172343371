"""The two sides of each case, on whichever framework the process has.

A side is a function of tensors; `call` runs it with gradients, in the mode asked for.
"""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.keras_cases import VOCABULARY, WIDTH, KerasCase

# Set by `keras_side`: "ours", "logits" (ours, with the logits built), "4.34", or "formula" (that
# of 4.34, on our TensorFlow).
SIDE = "ours"


def make(case: KerasCase, mode: str) -> Any:
    """Build the inputs; give a function without arguments that runs the case to its end."""
    function, sources, others, backward = globals()[case.work](**case.arguments)
    framework = os.environ.get("KERAS_BACKEND", "tensorflow")
    if case.donate and framework == "jax":
        return _jax_donating(function, sources, others)
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[framework](
        function, sources, others, backward, mode
    )


def _tensorflow(function: Any, sources: Any, others: Any, backward: bool, mode: str) -> Any:
    import tensorflow as tf

    sources, others = [[tf.constant(x) for x in part] for part in (sources, others)]

    def step(*given: Any) -> Any:
        mine, rest = given[: len(sources)], given[len(sources) :]
        if not backward:
            return [function(*mine, *rest)]
        with tf.GradientTape() as tape:
            tape.watch(mine)
            loss = function(*mine, *rest)
        return [loss, *tape.gradient(loss, mine)]

    run = step if mode == "eager" else tf.function(step, jit_compile=mode == "compiled")

    def call() -> Any:
        results = run(*sources, *others)
        for result in results:  # TensorFlow may still be at work: ask for the numbers, in place
            memoryview(result)
        return results

    return call


def _jax(function: Any, sources: Any, others: Any, backward: bool, mode: str) -> Any:
    import jax
    import jax.numpy as jnp

    sources, others = [[jnp.asarray(x) for x in part] for part in (sources, others)]

    def total(*given: Any) -> Any:
        return jnp.sum(function(*given))

    run = jax.value_and_grad(total, tuple(range(len(sources)))) if backward else function
    run = run if mode == "eager" else jax.jit(run)

    def call() -> Any:
        results = jax.block_until_ready(run(*sources, *others))
        return [results[0], *results[1]] if backward else [results]

    return call


def _jax_donating(function: Any, sources: Any, others: Any) -> Any:
    import jax
    import jax.numpy as jnp

    sources, others = [[jnp.asarray(x) for x in part] for part in (sources, others)]

    def step(_: Any, *given: Any) -> Any:
        at = tuple(range(len(sources)))
        return jax.value_and_grad(lambda *x: jnp.sum(function(*x)), at)(*given)

    # `keep_unused`: nobody reads what is donated, the gradients are written there.
    run = jax.jit(step, donate_argnums=0, keep_unused=True)
    spare = tuple(jnp.zeros_like(x) for x in sources)

    def call() -> Any:
        nonlocal spare
        loss, spare = jax.block_until_ready(run(spare, *sources, *others))
        return [loss, *spare]

    return call


def _torch(function: Any, sources: Any, others: Any, backward: bool, mode: str) -> Any:
    import torch

    sources = [torch.from_numpy(x).requires_grad_(backward) for x in sources]
    others = [torch.from_numpy(x) for x in others]

    def call() -> Any:
        result = function(*sources, *others)
        if not backward:
            return [result]
        return [result.detach(), *torch.autograd.grad(result.sum(), sources)]

    return call


def _mixin(name: str) -> Any:
    if SIDE == "4.34":
        from transformers import modeling_tf_utils as home
    else:
        from headsmith.keras import losses as home
    mixin = getattr(home, f"TF{name}Loss")()
    mixin.config = SimpleNamespace(tf_legacy_loss=False)
    return mixin


def _logits(shape: list[int]) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def sequence_loss(name: str, shape: list[int]) -> Any:
    """Give a loss of tokens, a tenth of the labels ignored."""
    mixin, rng = _mixin(name), np.random.default_rng(1)
    labels = rng.integers(0, shape[-1], shape[:-1]).astype("int32")
    labels[rng.random(labels.shape) < 0.1] = -100
    return lambda x, y: mixin.hf_compute_loss(y, x), [_logits(shape)], [labels], True


def example_loss(name: str, shape: list[int]) -> Any:
    """Give a loss of examples."""
    mixin = _mixin(name)
    labels = np.random.default_rng(1).integers(0, shape[1], shape[0]).astype("int32")
    return lambda x, y: mixin.hf_compute_loss(y, x), [_logits(shape)], [labels], True


def span_loss(name: str, shape: list[int]) -> Any:
    """Give the loss of starts and ends."""
    mixin = _mixin(name)
    at = np.random.default_rng(1).integers(0, shape[1], (2, shape[0])).astype("int32")

    def loss(start: Any, end: Any, first: Any, last: Any) -> Any:
        return mixin.hf_compute_loss({"start_position": first, "end_position": last}, (start, end))

    return loss, [_logits(shape), _logits(shape)[::-1].copy()], list(at), True


def from_hidden(batch: int, share: float) -> Any:
    """Give a language-model loss from hidden states, or of the product."""
    from keras import ops

    from headsmith.keras import linear_losses, losses

    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(batch, 512, WIDTH)).astype("float32")
    weight = (rng.normal(size=(VOCABULARY, WIDTH)) * 0.02).astype("float32")
    labels = rng.integers(0, VOCABULARY, (batch, 512)).astype("int32")
    labels[rng.random(labels.shape) >= share] = -100

    def plain(h: Any, w: Any, y: Any) -> Any:
        return losses.masked_language_modeling_loss(ops.matmul(h, ops.transpose(w)), y)

    fused = linear_losses.masked_language_modeling_loss_from_hidden
    return plain if SIDE == "logits" else fused, [hidden, weight], [labels], True


def conv1d() -> Any:
    """Give TFConv1D on [8, 512, 768] → 2304."""
    if SIDE == "formula":
        return _conv1d_formula()
    if SIDE == "4.34":
        from transformers.modeling_tf_utils import TFConv1D
    else:
        from headsmith.keras import TFConv1D
    layer = TFConv1D(2304, WIDTH)
    hidden = np.random.default_rng(0).normal(size=(8, 512, WIDTH)).astype("float32")
    layer(hidden)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) * 0.02 for w in layer.get_weights()])
    return layer, [hidden], [], False


def _conv1d_formula() -> Any:
    import tensorflow as tf

    hidden = np.random.default_rng(0).normal(size=(8, 512, WIDTH)).astype("float32")
    rng = np.random.default_rng(1)
    weight, bias = (
        tf.Variable((rng.normal(size=shape) * 0.02).astype("float32"))
        for shape in ((WIDTH, 2304), (1, 2304))
    )

    def formula(x: Any) -> Any:
        return tf.reshape(tf.matmul(tf.reshape(x, (-1, WIDTH)), weight) + bias, (8, 512, 2304))

    return formula, [hidden], [], False


def summary() -> Any:
    """Give TFSequenceSummary with everything it has."""
    if SIDE == "4.34":
        from transformers.modeling_tf_utils import TFSequenceSummary
    else:
        from headsmith.keras import TFSequenceSummary
    config = SimpleNamespace(
        hidden_size=WIDTH,
        summary_type="cls_index",
        summary_use_proj=True,
        summary_proj_to_labels=True,
        num_labels=5,
        summary_activation="tanh",
        summary_first_dropout=0.1,
        summary_last_dropout=0.1,
    )
    layer = TFSequenceSummary(config)
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(32, 384, WIDTH)).astype("float32")
    index = rng.integers(0, 384, 32).astype("int32")
    layer((hidden, index))
    layer.set_weights([rng.normal(size=w.shape) * 0.02 for w in layer.get_weights()])
    return lambda h, i: layer((h, i)), [hidden], [index], False
