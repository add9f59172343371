"""Run by test_saving.py in a fresh process: open a model, predict, and tell what was imported.

Arguments: the .keras file, the .npz to write. The backend is that of `KERAS_BACKEND`.
"""

import sys

import numpy as np


def main(path, output):
    import keras

    import headsmith.keras  # noqa: F401 (registers the layers)

    model = keras.models.load_model(path)
    ids = np.array([[1, 2, 3, 5, 0], [4, 3, 2, 1, 7]], "int32")
    outputs = [keras.ops.convert_to_numpy(x) for x in model(ids)]
    ours = ("torch", "tensorflow", "jax", "transformers", "headsmith.torch", "headsmith.pruning")
    loaded = np.array([name for name in ours if name in sys.modules])
    np.savez(output, *outputs, loaded=loaded)


if __name__ == "__main__":
    main(*sys.argv[1:])
