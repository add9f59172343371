"""`get_initializer`: class, settings and spread as recorded."""

import keras
import numpy as np
import pytest

from headsmith.keras.initializers import get_initializer


@pytest.mark.golden("tf_get_initializer")
def test_recorded(case, engine):
    expected = case["outputs"]
    made = get_initializer(**case["init"])
    assert type(made).__name__ == expected["class"]
    config = made.get_config()
    assert config["mean"] == expected["config"]["mean"]
    assert config["stddev"] == expected["config"]["stddev"]
    if "n" in expected:
        keras.utils.set_random_seed(0)
        drawn = engine.array(made((expected["n"],), "float32"))
        np.testing.assert_allclose(drawn.std(), expected["sample_std"], rtol=0.02)
        # Keras on PyTorch tries four times to draw within two deviations, then lets it be.
        assert (np.abs(drawn) <= 2 * expected["config"]["stddev"]).mean() > 0.999
