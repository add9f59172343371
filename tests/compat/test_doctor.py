"""What doctor finds in old code, where, and what it leaves alone."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from headsmith.compat.checks import CHECKS, SourceFile
from headsmith.compat.doctor import KINDS, examine, examine_source
from headsmith.compat.sources import imports_transformers
from headsmith.errors import DataError


def _found(source: str) -> list[tuple[int, str]]:
    return [(f.line, f.kind) for f in examine_source(textwrap.dedent(source))]


RIGHT_COPIES = [
    """
    def find_pruneable_heads_and_indices(heads, n_heads, head_size, already_pruned_heads):
        heads = set(heads) - already_pruned_heads
        for head in heads:
            head = head - sum(1 if h < head else 0 for h in already_pruned_heads)
    """,
    """
    def find_pruneable_heads_and_indices(heads, n, size, gone):
        for head in set(heads) - gone:
            shift = 0
            for other in gone:
                if other < head:
                    shift += 1
    """,
    """
    def find_pruneable_heads_and_indices(heads, n, size, gone):
        return bisect.bisect_left(sorted(gone), 1)
    """,
    """
    def _find_pruneable_heads_and_indices(heads, n, size, gone):
        return other.find_pruneable_heads_and_indices(heads, n, size, gone)
    """,
]

WRONG_COPIES = [
    """
    def find_pruneable_heads_and_indices(heads, n_heads, head_size, already_pruned_heads):
        mask = torch.ones(n_heads, head_size)
        heads = set(heads) - already_pruned_heads
        for head in heads:
            mask[head] = 0
        return heads, mask.view(-1).eq(1).nonzero()
    """,
    """
    def find_pruneable_heads_and_indices(heads, n_heads, head_size, already_pruned_heads):
        heads = [h for h in heads if h not in already_pruned_heads]
        keep = [i for i in range(n_heads) if i not in heads]
    """,
    """
    def find_pruneable_heads_and_indices(heads, n_heads, head_size):
        pass
    """,
]


@pytest.mark.parametrize("source", RIGHT_COPIES)
def test_right_copies_are_left_alone(source: str) -> None:
    assert _found(source) == []


@pytest.mark.parametrize("source", WRONG_COPIES)
def test_wrong_copies_are_found(source: str) -> None:
    assert _found(source) == [(2, "copy")]


OLD = """
from transformers.modeling_utils import PreTrainedModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block, GPT2LMHeadModel, GPT2PreTrainedModel

class Base(PreTrainedModel):
    pass

class Head(Base):
    _tied_weights_keys = ["lm_head.weight"]

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("bias", x, persistent=False)
        self.register_buffer("kept", x)
        self.init_weights()

    def get_output_embeddings(self):
        return self.lm_head

    def prepare_inputs_for_generation(self, input_ids):
        return {}

    def forward(self, x, head_mask=None):
        mask = self.get_head_mask(head_mask, 2)
        return native(x, head_mask=mask, other=None)

class Block(GPT2Block):
    pass

class Fine(GPT2LMHeadModel):
    def prepare_inputs_for_generation(self, input_ids):
        return {}
"""


def test_everything_in_an_old_file() -> None:
    assert _found(OLD) == [
        (9, "tied-list"),
        (13, "buffer"),
        (15, "init"),
        (17, "untied"),
        (20, "generate"),
        (24, "method"),
        (25, "head-mask"),
        (27, "native-block"),
    ]
    assert {kind for _, kind in _found(OLD)} <= set(KINDS)


NEW = """
from transformers import GenerationMixin, PreTrainedModel

class Head(PreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "words.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def prepare_inputs_for_generation(self, input_ids):
        return {}

    def forward(self, x):
        return self.layer(x, head_mask=None)

class NoModel:
    def __init__(self):
        self.init_weights()

def get_head_mask(x):
    return x

NoModel().get_head_mask(1)
"""


def test_nothing_in_a_new_file() -> None:
    assert _found(NEW) == []


def test_a_mask_handed_down_to_own_attention_is_fine() -> None:
    source = """
    from transformers import PreTrainedModel
    class Layer:
        def forward(self, x, head_mask=None):
            return x * head_mask
    def run(layer, x, head_mask):
        return layer(x, head_mask=head_mask)
    def other(model, x, mask):
        return model(x, head_mask=mask)
    """
    assert _found(source) == [(9, "head-mask")]


def test_names_with_and_without_a_cure() -> None:
    source = """
    import transformers
    from transformers import modeling_utils as mu
    from transformers.modeling_utils import SQuADHead
    from transformers.optimization import AdamW
    from .modeling_utils import SQuADHead as vendored
    transformers.prune_layer
    mu.PreTrainedModel, mu.SequenceSummary
    import transformers.utils.model_parallel_utils
    """
    found = examine_source(textwrap.dedent(source))
    assert [(f.line, f.kind) for f in found] == [
        (4, "name"), (5, "name"), (7, "name"), (8, "name"), (9, "name")
    ]  # fmt: skip
    assert "headsmith migrate --write: headsmith.torch.SQuADHead" in found[0].remedy
    assert "torch.optim.AdamW" in found[1].remedy
    assert "headsmith.torch" in found[2].remedy


def test_a_tree_with_a_file_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from transformers import (", encoding="utf-8")
    (tmp_path / "b.py").write_text("from transformers.optimization import AdamW", encoding="utf-8")
    (tmp_path / "c.py").write_text("x = 1", encoding="utf-8")
    deep = "import transformers\nx = " + "-" * 20_000 + "1"
    (tmp_path / "d.py").write_text(deep, encoding="utf-8")
    found = examine([tmp_path])
    assert found.files == 4
    assert [Path(f.path).name for f in found.findings] == ["b.py"]
    (path, reason), (deep_path, too_deep) = found.skipped
    assert path.endswith("a.py")
    assert "line 1" in reason
    assert deep_path.endswith("d.py")
    assert too_deep == "nested too deeply"
    with pytest.raises(DataError, match="no file or folder"):
        examine([tmp_path / "nothing"])


@pytest.mark.parametrize(
    ("source", "parsed"),
    [
        ("import transformers", True),
        ("import os, transformers", True),
        ("import os, \\\n    transformers", True),
        ("if x: from transformers import y", True),
        ("x = 1; import transformers.onnx", True),
        ("from \\\n  transformers import y", True),
        ("\tfrom transformers.onnx import y", True),
        ("# from transformers import y", False),
        (">>> from transformers import y", False),
        ("from ..transformers import y", False),
        ("from transformers_of_ours import y", False),
        ("import os  # not, transformers", False),
    ],
)
def test_a_look_tells_who_imports(source: str, parsed: bool) -> None:
    assert imports_transformers(f"x = 0\n{source}\n".encode()) is parsed


def test_checks_that_are_left_out_would_have_found_nothing() -> None:
    """The look at the bytes refuses no file in which the syntax tree holds something."""
    sources = [path.read_bytes() for path in Path(__file__).parents[1].rglob("*.py")]
    assert len(sources) > 50
    for data in sources:
        file = SourceFile(ast.parse(data))
        for check in CHECKS:
            if not check.concerns(data):
                assert not list(check.look(file))


def test_the_test_models_are_told_apart() -> None:
    models = Path(__file__).parent / "models"
    kinds = {f.kind for f in examine([models]).findings}
    assert {"name", "init", "tied-list", "untied", "generate", "buffer", "method"} <= kinds


def test_a_name_that_went_with_its_module_is_told() -> None:
    source = """
    from transformers.modeling_tf_utils import TFSequenceSummary, input_processing
    from transformers.modeling_utils import PreTrainedModel
    """
    told = examine_source(textwrap.dedent(source))
    assert [(f.line, f.kind) for f in told] == [(2, "name"), (2, "name")]
    assert "input_processing went with its module" in told[1].what
    assert "copy it" in told[1].remedy


def test_modules_under_another_name() -> None:
    source = """
    import transformers as tr
    import transformers.generation as gen
    tr.prune_layer
    tr.modeling_utils.PreTrainedModel, tr.modeling_utils.Conv1D
    gen.LogitsWarper
    """
    told = examine_source(textwrap.dedent(source))
    assert [(f.line, f.remedy) for f in told] == [
        (4, "import prune_layer from headsmith.torch"),
        (5, "import Conv1D from transformers.pytorch_utils"),
        (6, "import LogitsProcessor from transformers.generation.logits_process"),
    ]


def test_a_patch_of_a_name_that_is_gone_has_no_effect() -> None:
    source = """
    import transformers
    transformers.modeling_utils.Conv1D = transformers.pytorch_utils.Conv1D
    transformers.pytorch_utils.Conv1D = None
    """
    (told,) = examine_source(textwrap.dedent(source))
    assert told.line == 3
    assert "does not read it there" in told.remedy


def test_modules_and_classes_that_are_gone_by_their_form() -> None:
    source = """
    import transformers.models.bert.modeling_flax_bert
    from transformers import TFBertModel, TFSequenceSummary, deepspeed, modeling_bert
    from transformers import TFidfModel, TensorType, modeling_outputs
    from transformers.modeling_tf_outputs import TFBaseModelOutput
    from transformers.modeling_bert import BertLayer
    from transformers.models.bert import FlaxBertModel, modeling_bert
    transformers.models.bert.modeling_bert.BertModel
    """
    told = examine_source(textwrap.dedent(source))
    assert [(f.line, f.what.partition(" is ")[0]) for f in told] == [
        (2, "the module transformers.models.bert.modeling_flax_bert"),
        (3, "TFBertModel"),
        (3, "TFSequenceSummary"),
        (3, "the module transformers.deepspeed"),
        (3, "the module transformers.modeling_bert"),
        (5, "TFBaseModelOutput went with its module: transformers.modeling_tf_outputs"),
        (6, "BertLayer went with its module: transformers.modeling_bert"),
        (7, "FlaxBertModel"),
    ]
    assert "transformers.models.bert.modeling_bert" in told[4].remedy
    assert "headsmith.keras" in told[5].remedy


def test_output_embeddings_that_are_another_model_s_are_not_tied_here() -> None:
    source = """
    class Base(PreTrainedModel):
        def get_output_embeddings(self):
            return None

    class Pair(PreTrainedModel):
        def get_output_embeddings(self):
            return self.decoder.get_output_embeddings()

    class Late(PreTrainedModel):
        def __init__(self, config):
            self._tied_weights_keys = {f"heads.{i}.weight": "words.weight" for i in range(2)}

        def get_output_embeddings(self):
            return self.heads

    class Own(PreTrainedModel):
        def get_output_embeddings(self):
            if self.headless:
                return None
            return self.lm_head
    """
    assert _found(source) == [(18, "untied")]


def test_an_empty_buffer_holds_no_garbage() -> None:
    source = """
    self.register_buffer("a", None, persistent=False)
    self.register_buffer("b", tensor=None, persistent=False)
    self.register_buffer("c", None if x else y, persistent=False)
    """
    assert _found(source) == [(4, "buffer")]


@pytest.mark.parametrize(
    ("source", "cure"),
    [
        ("from transformers import TransfoXLLMHeadModel", "copy its code"),
        ("import transformers as tr\ntr.TransfoXLTokenizer", "copy its code"),
        ("from transformers.models.transfo_xl.modeling_transfo_xl import X", "copy its code"),
        ("from transformers import MMBTConfig", "copy its code"),
        ("from transformers.models.mmbt import MMBTModel", "copy its code"),
        ("from transformers.file_utils import cached_path", "cached_file"),
        ("from transformers import MT5Tokenizer", "T5Tokenizer"),
        ("from transformers.models.mt5 import MT5TokenizerFast", "T5Tokenizer"),
        ("from transformers.convert_graph_to_onnx import convert", "headsmith export"),
        ("import transformers.convert_graph_to_onnx", "headsmith export"),
        ("from transformers import LineByLineTextDataset", "load_dataset"),
        ("from transformers.data.datasets.language_modeling import TextDataset", "load_dataset"),
    ],
)
def test_names_that_went_without_a_successor(source: str, cure: str) -> None:
    (found,) = examine_source(source + "\n")
    assert found.kind == "name"
    assert cure in found.remedy


def test_names_beside_those_that_went() -> None:
    kept = "from transformers import MT5Model, T5Tokenizer\nfrom transformers.models import mt5\n"
    assert examine_source(kept) == []
