"""`shape_list` on every kind of tensor."""

import keras
import numpy as np
import pytest

from headsmith.keras.shapes import shape_list


@pytest.mark.golden("tf_shape_list")
def test_recorded(case, engine):
    told = case["scenario"]
    if told["kind"] == "keras_input":
        # Keras 3 gives None where Keras 2 gave a scalar tensor.
        assert shape_list(keras.Input(batch_shape=told["spec"])) == [None, None, 8]
        return
    if told["kind"] == "object":
        with pytest.raises(AttributeError, match="Received: a list"):
            shape_list([[1, 2]])
        return
    value = np.zeros(told["shape"], told["dtype"])
    if told["kind"] == "ndarray":
        assert shape_list(value) == case["outputs"]["static"]
    elif told["kind"] == "tensor":
        assert shape_list(engine.tensor(value)) == case["outputs"]["static"]
    elif told["kind"] == "variable":
        assert shape_list(keras.Variable(value)) == case["outputs"]["static"]
    else:
        traced(value, told, case["outputs"])


def traced(value, told, expected):
    tf = pytest.importorskip("tensorflow")
    spec = tf.TensorShape(None) if told["rank_unknown"] else told["spec"]
    seen = []

    @tf.function(input_signature=[tf.TensorSpec(spec, told["dtype"])])
    def run(x):
        shape = shape_list(x)
        seen.append(shape)
        return tf.convert_to_tensor(shape)

    assert run(tf.constant(value)).numpy().tolist() == expected["runtime"]
    if told["rank_unknown"]:
        assert tf.is_tensor(seen[0])
        assert seen[0].dtype == tf.int32
    else:
        static = ["dynamic" if tf.is_tensor(size) else size for size in seen[0]]
        assert static == expected["static"]


def test_sizes_are_plain_ints(engine):
    assert all(type(size) is int for size in shape_list(engine.tensor(np.zeros((2, 3)))))
