"""Marked classes, and classes after everything was undone: nothing is restored around these."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from transformers import BertConfig, PreTrainedModel

from headsmith.compat import mark_legacy, restored
from headsmith.compat.late import LateModel
from headsmith.compat.model import LegacyModel

Write = Callable[[str], ModuleType]

SOURCE = """
from torch import nn
from transformers import BertConfig, PreTrainedModel

class Model(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.{call}()

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.out

    def forward(self, input_ids):
        return self.out(self.words(input_ids))
"""

CONFIG = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
V5 = SOURCE.format(call="post_init")


def test_a_mark_counts_before_and_while_restored(write_module: Write, v5: bool) -> None:
    module = write_module(V5)
    mark_legacy(module.Model)
    assert module.Model.__bases__ == (PreTrainedModel,)
    with restored():
        assert issubclass(module.Model, LegacyModel if v5 else LateModel)
    assert module.Model.__bases__ == (PreTrainedModel,)
    other = write_module(V5)
    with restored():
        assert mark_legacy(other) is other
        model = other.Model(BertConfig(**CONFIG))
        assert model.out.weight is model.words.weight
    assert other.Model.__bases__ == (PreTrainedModel,)


def test_undo_gives_classes_their_bases_back(write_module: Write, v5: bool) -> None:
    with restored():
        module = write_module(
            SOURCE.format(call="init_weights")
            + "\n    def tie_weights(self):\n        pass\n"
            + "\n    def prepare_inputs_for_generation(self, input_ids):\n        return {}\n"
        )
        tie = module.Model.tie_weights
        assert len(module.Model.__bases__) == 3
    assert module.Model.__bases__ == (PreTrainedModel,)
    assert (module.Model.tie_weights is not tie) == v5  # 4.57 calls it as it is
