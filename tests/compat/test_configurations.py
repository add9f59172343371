"""Configurations that old models were built from: what they answer, and that they stay usable."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import transformers
from transformers import LlamaConfig

Write = Callable[[str], ModuleType]

pytestmark = pytest.mark.usefixtures("restored")

TINY = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2}  # fmt: skip
SOURCE = """
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.modeling_utils import PreTrainedModel, prune_linear_layer

class Old(PreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.scaling = config.rope_scaling
        self.settings = (config.num_beams, config.forced_bos_token_id, config.max_length)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.init_weights()

    def get_input_embeddings(self):
        return self.words

    def set_input_embeddings(self, value):
        self.words = value
"""


def test_old_code_is_answered(write_module: Write) -> None:
    module = write_module(SOURCE)
    model = module.Old(LlamaConfig(**TINY))
    assert model.scaling is None  # not the positions' own settings, of which 4.34 knew nothing
    assert model.settings == (1, None, 20)
    scaled = LlamaConfig(**TINY, rope_scaling={"type": "linear", "factor": 2.0, "rope_theta": 1e4})
    assert module.Old(scaled).scaling["type"] == "linear"
    assert module.Old(scaled).scaling["factor"] == 2.0


@pytest.mark.needs_v5("4.57 has these settings")
def test_nobody_else_is_answered(write_module: Write) -> None:
    config = write_module(SOURCE).Old(LlamaConfig(**TINY)).config
    assert not hasattr(config, "forced_bos_token_id")


def test_a_configuration_stays_what_it_is(write_module: Write, tmp_path: Path) -> None:
    plain = LlamaConfig(**TINY)
    config = write_module(SOURCE).Old(LlamaConfig(**TINY)).config
    assert isinstance(config, LlamaConfig)
    assert type(config).__name__ == "LlamaConfig"
    assert copy.deepcopy(config).rope_scaling is None
    for name in ("vocab_size", "hidden_size", "rope_parameters"):
        assert config.to_dict().get(name) == plain.to_dict().get(name)
    config.save_pretrained(tmp_path)
    assert LlamaConfig.from_pretrained(tmp_path).hidden_size == 8
    native = transformers.AutoModel.from_config(config)
    assert type(native) is transformers.LlamaModel
    # Another process, which knows nothing of headsmith, reads what was pickled.
    (tmp_path / "pickled").write_bytes(pickle.dumps(config))
    code = (
        "import pickle, sys; c = pickle.load(open(sys.argv[1], 'rb')); "
        "print(type(c).__module__, c.hidden_size, 'headsmith' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pickled")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[1] == "8"


@pytest.mark.needs_v5("4.57 warns of them itself")
def test_settings_of_generation_are_saved_with_a_model(write_module: Write, tmp_path: Path) -> None:
    module = write_module(SOURCE)
    config = LlamaConfig(**TINY)
    config.num_beams = 4
    model = module.Old(config)
    model.save_pretrained(tmp_path)
    again = module.Old.from_pretrained(tmp_path)
    assert torch.equal(again.words.weight, model.words.weight)


@pytest.mark.needs_v5("4.57 draws them in its own way")
def test_new_rows_are_drawn_as_all_were(write_module: Write) -> None:
    """4.34 drew them by the model's own rule, not as the mean of what was there."""
    source = SOURCE + (
        "\n    def _init_weights(self, module):\n"
        "        if isinstance(module, nn.Embedding):\n"
        "            module.weight.data.fill_(3.0)\n"
    )
    model = write_module(source).Old(LlamaConfig(**TINY))
    model.words.weight.data.fill_(1.0)
    model.resize_token_embeddings(12)
    assert model.words.weight[:9].eq(1.0).all()
    assert model.words.weight[9:].eq(3.0).all()


def test_the_gradient_of_a_softmax() -> None:
    from transformers.pytorch_utils import softmax_backward_data

    class Context:
        dim = -1

    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    out = torch.softmax(logits, -1)
    due = torch.randn_like(out)
    (truth,) = torch.autograd.grad(out, logits, due)
    for more in ((), (-1, logits)):
        torch.testing.assert_close(
            softmax_backward_data(Context(), due, out.detach(), *more), truth
        )


def test_what_comes_behind_a_mixin_is_built_as_it_was(write_module: Write) -> None:
    source = SOURCE.replace("class Old(PreTrainedModel)", "class Old(Mixin, PreTrainedModel)")
    source = source.replace("super().__init__(config)", "super(Mixin, self).__init__(config)")
    source = source.replace("class Old", "class Mixin:\n    pass\n\nclass Old", 1)
    model = write_module(source).Old(LlamaConfig(**TINY))
    assert model.scaling is None
    assert model.config.pruned_heads == {}
