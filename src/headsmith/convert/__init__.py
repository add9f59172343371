"""Weights from one framework to another, by name, checked name by name and shape by shape.

Everything goes through a **state dict of NumPy arrays** under the names PyTorch gives the
weights, which are 4.34's:

```
PyTorch module ─┐                                   ┌─ to_torch(source, module)
Keras layer ────┼─ state_dict(source) ─ {name: array}
dict of arrays ─┤                                   └─ to_keras(source, layer)
tf_model.h5 ────┘  read_tensorflow_checkpoint(path)
```

Reading a TensorFlow checkpoint needs h5py alone: no TensorFlow, and no PyTorch either. Frameworks
are imported by the functions that need them.
"""

from __future__ import annotations

from headsmith.convert.tensorflow_checkpoint import read_tensorflow_checkpoint
from headsmith.convert.wings import state_dict, to_keras, to_torch

__all__ = ["read_tensorflow_checkpoint", "state_dict", "to_keras", "to_torch"]
