"""Which classes count as of Transformers 4, and that no other is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from compat.conftest import before_the_tables
from transformers import BertConfig, GenerationMixin, PreTrainedModel

from headsmith.compat import is_legacy, mark_legacy
from headsmith.compat.late import LateModel
from headsmith.compat.model import LegacyModel

HEAD = """
import torch
from torch import nn
from transformers import BertConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import PreTrainedModel
"""

MODEL = """
class Model(PreTrainedModel):
    config_class = BertConfig
    base_model_prefix = "none"
    {keys}

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.{call}()

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.out

    def forward(self, input_ids, return_dict=None):
        return CausalLMOutput(logits=self.out(self.words(input_ids)))
"""

CONFIG = {"vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}


def _model(call: str = "post_init", keys: str = "") -> str:
    return MODEL.format(call=call, keys=keys)


V5 = HEAD + _model(keys="_tied_weights_keys = None")
BASE = """
class Base(PreTrainedModel):
    config_class = BertConfig
    _keys_to_ignore_on_load_unexpected = ["pooler"]
"""
UNASKED = _model(call="tie_weights").replace("(PreTrainedModel)", "(Base)")
Write = Callable[[str], ModuleType]
STILL = pytest.mark.needs_v5("4.57 still has it: no sign of age")


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "source",
    [
        HEAD + "from transformers.modeling_utils import Conv1D\n" + _model(),
        pytest.param(
            HEAD + "from transformers.pytorch_utils import prune_layer\n" + _model(), marks=STILL
        ),
        HEAD + "try:\n    from transformers.modeling_utils import prune_linear_layer\n"
        "except ImportError:\n    raise\n" + _model(),
        HEAD + "from headsmith.torch import find_pruneable_heads_and_indices\n" + _model(),
        HEAD + _model(call="init_weights"),
        pytest.param(HEAD + _model(keys='_tied_weights_keys = ["out.weight"]'), marks=STILL),
        pytest.param(
            HEAD + _model() + "\n    def mask(self, x):\n        return self.get_head_mask(x, 1)\n",
            marks=STILL,
        ),
        HEAD + _model() + "\n    def prepare_inputs_for_generation(self, x, **kwargs):\n"
        "        return {'input_ids': x}\n",
        HEAD + "from transformers.models.opt.modeling_opt import _make_causal_mask\n" + _model(),
        HEAD
        + "from transformers.models.bert.modeling_bert import BERT_START_DOCSTRING\n"
        + _model(),
        pytest.param(
            HEAD + _model() + "\n    def _set_gradient_checkpointing(self, module, value=False):\n"
            "        module.gradient_checkpointing = value\n",
            marks=STILL,
        ),
        pytest.param(
            HEAD + "from transformers.utils import add_code_sample_docstrings\n" + _model(),
            marks=STILL,
        ),
        pytest.param(HEAD + BASE + UNASKED, marks=STILL),
    ],
    ids=[
        "moved",
        "gone",
        "guarded",
        "migrated",
        "init",
        "list",
        "method",
        "prepares",
        "helper",
        "docs",
        "checkpointing",
        "code-samples",
        "no-init-in-the-file",
    ],
)
def test_signs_of_age(source: str, write_module: Write, tmp_path: Path) -> None:
    module = write_module(source)
    assert is_legacy(module.Model)
    model = module.Model(BertConfig(**CONFIG))
    assert model.out.weight is model.words.weight
    model.save_pretrained(tmp_path / "saved")
    again = module.Model.from_pretrained(tmp_path / "saved")
    assert again.out.weight is again.words.weight
    assert torch.equal(again.words.weight, model.words.weight)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "source",
    [
        V5,
        V5 + "\ndef get_head_mask(x):\n    return x\n\nused = get_head_mask(1)\n",
        HEAD + "import transformers.modeling_utils as m\nhasattr(m, 'SQuADHead')\n" + _model(),
        HEAD + "from headsmith.torch import SequenceSummary\n" + _model(),
        HEAD + "from transformers.pytorch_utils import Conv1D\n" + _model(),
        HEAD
        + "from transformers import GenerationMixin\n"
        + _model().replace("(PreTrainedModel)", "(PreTrainedModel, GenerationMixin)")
        + "\n    def prepare_inputs_for_generation(self, x, **kwargs):\n"
        "        return {'input_ids': x}\n",
        V5 + "\n    def _set_gradient_checkpointing(self, enable=True, function=None):\n"
        "        pass\n",
        HEAD
        + _model()
        + "\ndef add_code_sample_docstrings(f):\n    return f\n\nclass Other(Model):\n    pass\n",
        HEAD
        + BASE
        + "\nclass Part(Base):\n    def __init__(self, config):\n"
        + "        super().__init__(config)\n"
        + _model().replace("(PreTrainedModel)", "(Base)"),
    ],
    ids=[
        "plain",
        "own-function",
        "a-look",
        "ours",
        "new-place",
        "generates",
        "checkpoints",
        "own-decorator",
        "has-a-part",
    ],
)
def test_classes_of_today_are_left_alone(source: str, write_module: Write, v5: bool) -> None:
    module = write_module(source)
    assert not is_legacy(module.Model)
    assert module.Model.__bases__[0] in (PreTrainedModel, getattr(module, "Base", None))
    assert not issubclass(module.Model, (LegacyModel, LateModel))
    config = BertConfig(**CONFIG)
    before = config.to_dict()
    model = module.Model(config)
    # Though tie_word_embeddings is True; 4.57 ties by itself.
    assert (model.out.weight is not model.words.weight) == v5
    assert {k: v for k, v in config.to_dict().items() if k != "dtype"} == {
        k: v for k, v in before.items() if k != "dtype"
    }


@pytest.mark.usefixtures("restored")
def test_a_mark_can_say_no(write_module: Write) -> None:
    module = write_module(
        HEAD
        + "from headsmith.compat import mark_legacy\n"
        + "from transformers.modeling_utils import SQuADHead\n"
        + "mark_legacy(__import__('sys').modules[__name__], legacy=False)\n"
        + _model()
    )
    assert not is_legacy(module.Model)
    assert not issubclass(module.Model, (LegacyModel, LateModel))


def test_only_classes_and_modules_can_be_marked() -> None:
    with pytest.raises(TypeError, match="class or a module"):
        mark_legacy("BertModel")  # type: ignore[type-var]


@pytest.mark.usefixtures("restored")
def test_who_inherits_from_a_legacy_class_is_legacy(write_module: Write) -> None:
    old = write_module(HEAD + _model(call="init_weights"))

    class New(old.Model):  # type: ignore[misc, name-defined]
        pass

    assert is_legacy(New)
    assert New(BertConfig(**CONFIG)).out.weight is not None
    assert not is_legacy(BertConfig)
    assert not is_legacy(PreTrainedModel)


@pytest.mark.usefixtures("restored")
def test_an_own_tie_weights_without_arguments(write_module: Write, tmp_path: Path) -> None:
    source = (
        HEAD
        + _model(call="init_weights")
        + """
    def tie_weights(self):
        self.out.weight = self.words.weight
"""
    )
    module = write_module(source)
    model = module.Model(BertConfig(**CONFIG))
    assert model.out.weight is model.words.weight
    model.save_pretrained(tmp_path / "saved")
    again = module.Model.from_pretrained(tmp_path / "saved")
    assert again.out.weight is again.words.weight
    assert torch.equal(again.out.weight, model.out.weight)


@pytest.mark.needs_v5("in Transformers 4 the list tied nothing")
@pytest.mark.usefixtures("restored")
def test_listed_keys_tie_what_no_method_ties(write_module: Write) -> None:
    source = (HEAD + _model(keys='_tied_weights_keys = ["out.weight"]')).replace(
        "def get_output_embeddings", "def something_else"
    )
    module = write_module(source)
    model = module.Model(BertConfig(**CONFIG))
    assert model.out.weight is model.words.weight
    apart = {k: torch.full_like(v, i) for i, (k, v) in enumerate(model.state_dict().items())}
    read = module.Model.from_pretrained(None, config=model.config, state_dict=apart)
    assert read.words.weight.eq(0).all()
    assert read.out.weight.eq(1).all()


@pytest.mark.usefixtures("restored")
def test_a_class_that_says_nothing_of_initialisation_keeps_torchs(write_module: Write) -> None:
    source = HEAD + _model(call="init_weights").replace(
        "self.init_weights()",
        "nn.init.constant_(self.out.weight, 3.0)\n        self.init_weights()",
    ).replace("def get_output_embeddings", "def something_else")
    model = write_module(source).Model(BertConfig(**CONFIG))
    assert model.out.weight.eq(3.0).all()


@STILL
@pytest.mark.usefixtures("restored")
def test_a_model_that_asks_for_no_initialisation_is_read(
    write_module: Write, tmp_path: Path
) -> None:
    module = write_module(
        HEAD
        + _model(call="train", keys='_keys_to_ignore_on_load_unexpected = ["pooler"]')
        + "\nclass Whole(PreTrainedModel):\n    config_class = BertConfig\n\n"
        + "    def __init__(self, config):\n        super().__init__(config)\n"
        + "        self.inner = Model(config)\n        self.post_init()\n"
    )
    assert is_legacy(module.Model)
    assert not is_legacy(module.Whole)
    model = module.Model(BertConfig(**CONFIG))
    assert model.out.weight is not model.words.weight  # nobody has asked for it yet
    with torch.no_grad():
        model.out.weight.copy_(model.words.weight)
    model.save_pretrained(tmp_path)
    again, told = module.Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert torch.equal(again.words.weight, model.words.weight)
    assert again.out.weight is again.words.weight  # as reading does


@pytest.mark.usefixtures("restored")
def test_old_defaults_are_on_the_configuration(write_module: Write) -> None:
    module = write_module(
        HEAD
        + """
from transformers import PretrainedConfig

class OldConfig(PretrainedConfig):
    model_type = "old-one"

    def __init__(self, hidden_size=4, vocab_size=9, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
"""
        + _model(call="init_weights").replace("BertConfig", "OldConfig")
    )
    config = module.OldConfig()
    model = module.Model(config)
    for name in ("is_decoder", "add_cross_attention", "torchscript", "tie_encoder_decoder"):
        assert getattr(config, name) is False
    assert config.tie_word_embeddings is True
    assert config.pruned_heads == {}
    assert config.pad_token_id is config.bos_token_id is config.eos_token_id is None
    assert model.out.weight is model.words.weight


@pytest.mark.usefixtures("restored")
def test_generate_where_inputs_are_prepared(write_module: Write) -> None:
    prepares = """
    def prepare_inputs_for_generation(self, input_ids, **kwargs):
        return {"input_ids": input_ids}
"""
    plain = write_module(HEAD + _model(call="init_weights"))
    assert not hasattr(plain.Model(BertConfig(**CONFIG)), "generate")
    module = write_module(HEAD + _model(call="init_weights") + prepares)
    model = module.Model(BertConfig(**CONFIG, pad_token_id=0, eos_token_id=8)).eval()
    with torch.no_grad():
        model.words.weight.copy_(torch.eye(9, 4))
        made = model.generate(torch.tensor([[1, 2]]), max_length=5, do_sample=False)
    assert made.tolist() == [[1, 2, 2, 2, 2]]
    assert "prepare_inputs_for_generation" not in vars(model)
    both = write_module(
        (HEAD + "from transformers import GenerationMixin\n" + _model(call="init_weights")).replace(
            "class Model(PreTrainedModel)", "class Model(PreTrainedModel, GenerationMixin)"
        )
        + prepares
    )
    again = both.Model(model.config).eval()
    assert isinstance(again, GenerationMixin)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.generate(torch.tensor([[1, 2]]), max_length=5, do_sample=False), made)


BOTH_WAYS = """
class Head(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder.bias = self.bias

    def _tie_weights(self):
        {tie}

class Biased(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.head = Head(config)
        self.init_weights()

    def get_input_embeddings(self):
        return self.words

    def get_output_embeddings(self):
        return self.head.decoder
"""


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("tie", ["self.bias = self.decoder.bias", "self.decoder.bias = self.bias"])
@pytest.mark.parametrize("kept", ["head.bias", "head.decoder.bias"])
def test_a_bias_with_two_names_is_read_from_either(
    tie: str, kept: str, write_module: Write
) -> None:
    module = write_module(HEAD + BOTH_WAYS.format(tie=tie))
    model = module.Biased(BertConfig(**CONFIG))
    state = {"words.weight": torch.ones(9, 4), kept: torch.arange(9.0)}
    again = module.Biased.from_pretrained(None, config=model.config, state_dict=state)
    assert again.head.bias is again.head.decoder.bias
    assert again.head.bias.tolist() == list(range(9))
    assert again.head.decoder.weight is again.words.weight


@pytest.mark.usefixtures("restored")
def test_an_encoder_is_tied_to_its_decoder(write_module: Write) -> None:
    module = write_module(
        HEAD
        + """
class Pair(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2)])})
        self.decoder = nn.ModuleDict(
            {"layer": nn.ModuleList([nn.Linear(2, 2), nn.Conv1d(1, 1, 1), nn.LayerNorm(2)])}
        )
        self.init_weights()
"""
    )
    config = BertConfig(**CONFIG, is_encoder_decoder=True)
    config.tie_encoder_decoder = True
    model = module.Pair(config)
    ours, theirs = model.encoder["layer"], model.decoder["layer"]
    assert ours[0].weight is theirs[0].weight
    assert ours[0].bias is theirs[0].bias
    assert ours[1].weight is theirs[2].weight  # the decoder's second layer has no counterpart


@pytest.mark.usefixtures("restored")
def test_the_embeddings_can_be_resized(write_module: Write) -> None:
    module = write_module(
        HEAD
        + BOTH_WAYS.format(tie="pass")
        + "\n    def set_input_embeddings(self, value):\n        self.words = value\n"
    )
    model = module.Biased(BertConfig(**CONFIG))
    head = model.head.decoder
    with torch.no_grad():
        head.bias.copy_(torch.arange(9.0))
    model.resize_token_embeddings(12, mean_resizing=False)
    assert model.head.decoder is head
    assert head.bias is model.head.bias
    assert head.bias.tolist() == [*range(9), 0, 0, 0]
    assert head.out_features == 12
    assert model.head.decoder.weight is model.words.weight
    assert model.words.weight.shape == (12, 4)
    assert model.head.decoder.bias.shape == (12,)


@pytest.mark.usefixtures("restored")
def test_what_a_t5_configuration_was_told_counts(write_module: Write) -> None:
    from transformers import MT5Config, T5Config

    from headsmith.compat.config_defaults import fill_defaults

    if before_the_tables() and T5Config(tie_word_embeddings=False).tie_word_embeddings:
        pytest.skip("this Transformers ties T5 whatever it is told")
    for config, tied in (
        (T5Config(), True),
        (T5Config(tie_word_embeddings=False), False),
        (MT5Config(), False),
    ):
        fill_defaults(config)
        assert config.tie_word_embeddings is tied
