"""Record what the test models do under Transformers 4.34.0.

    .venv-bench/bin/python tests/compat/record.py

(`make bench` makes that environment.) Writes one small file a model into `recorded`.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(f"recorded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main():
    assert transformers.__version__ == "4.34.0", transformers.__version__
    for name, scenario in load(HERE / "scenarios.py").SCENARIOS.items():
        torch.manual_seed(0)
        _, arrays = scenario(load(HERE / "models" / f"{name}.py"))
        values = {
            key: np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
            for key, value in arrays.items()
        }
        np.savez_compressed(HERE / "recorded" / f"{name}.npz", **values)
        print(name, len(values), "arrays")  # noqa: T201


if __name__ == "__main__":
    main()
