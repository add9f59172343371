"""Names of tokenizers, of single models and of data sets that are elsewhere, or nowhere, now."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

from headsmith.compat.input_examples import DataProcessor, InputExample, InputFeatures
from headsmith.compat.migrate import rewrite
from headsmith.compat.names import lookup, reexports
from headsmith.compat.reexports import TOKENIZER_REEXPORTS
from headsmith.compat.shims import get_file_from_repo
from headsmith.errors import HeadsmithError

pytestmark = pytest.mark.usefixtures("restored")


def test_the_tokenizers_of_bert_are_found_in_every_module_that_had_them() -> None:
    from transformers.models.bert.tokenization_bert import BasicTokenizer, WordpieceTokenizer
    from transformers.models.electra import tokenization_electra
    from transformers.models.roformer.tokenization_roformer import load_vocab

    words = BasicTokenizer(do_lower_case=True).tokenize("Él, naïve!\t(ok)")
    assert words == ["el", ",", "naive", "!", "(", "ok", ")"]
    pieces = WordpieceTokenizer({"un": 0, "##able": 1, "[UNK]": 2}, unk_token="[UNK]")
    assert pieces.tokenize("unable other") == ["un", "##able", "[UNK]"]
    again = tokenization_electra.BasicTokenizer(do_lower_case=True).tokenize("Él, naïve!\t(ok)")
    assert again == words
    assert callable(load_vocab)


@pytest.mark.needs_v5("they are where they were")
def test_every_name_of_a_tokenizer_module_is_answered() -> None:
    for module, names in reexports().items():
        if ".tokenization_" not in module:
            continue
        held = importlib.import_module(module)
        for name in names:
            assert getattr(held, name) is not None, (module, name)


def test_bytes_are_letters_and_pairs_are_pairs() -> None:
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode, get_pairs
    from transformers.models.t5.tokenization_t5 import SPIECE_UNDERLINE

    letters = bytes_to_unicode()
    assert len(letters) == len(set(letters.values())) == 256
    assert letters[ord("a")] == "a"
    assert letters[ord(" ")] == "Ġ"
    assert get_pairs(("a", "b", "c", "b")) == {("a", "b"), ("b", "c"), ("c", "b")}
    assert SPIECE_UNDERLINE == "\u2581"


def test_the_tokenizer_of_a_module_that_is_gone_is_found() -> None:
    import transformers
    from transformers.models.electra.tokenization_electra import ElectraTokenizer

    assert ElectraTokenizer is transformers.ElectraTokenizer
    longformer = lookup("transformers.models.longformer.tokenization_longformer",
                        "LongformerTokenizer")  # fmt: skip
    assert longformer is not None
    assert longformer.target == "transformers:LongformerTokenizer"


def test_what_stood_beside_a_tokenizer_can_be_imported() -> None:
    from transformers.models.bert.configuration_bert import BertOnnxConfig
    from transformers.models.bert.modeling_bert import load_tf_weights_in_bert
    from transformers.models.bert.tokenization_bert import PRETRAINED_VOCAB_FILES_MAP
    from transformers.models.mistral.modeling_mistral import logger

    assert isinstance(PRETRAINED_VOCAB_FILES_MAP, dict)
    assert isinstance(BertOnnxConfig, type)
    assert callable(logger.warning)
    assert callable(load_tf_weights_in_bert)


@pytest.mark.needs_v5("it is there")
def test_tensorflow_checkpoints_are_refused() -> None:
    from transformers.models.bert.modeling_bert import load_tf_weights_in_bert

    with pytest.raises(HeadsmithError, match="reads no TensorFlow checkpoints"):
        load_tf_weights_in_bert(None, None, "model.ckpt")


def test_the_losses_of_clip_are_its_formula() -> None:
    from transformers.models.blip.modeling_blip import blip_loss
    from transformers.models.clip.modeling_clip import clip_loss

    torch.manual_seed(0)
    similarity = torch.randn(4, 4, dtype=torch.float64)
    same = torch.arange(4)
    truth = (
        torch.nn.functional.cross_entropy(similarity, same)
        + torch.nn.functional.cross_entropy(similarity.t(), same)
    ) / 2
    torch.testing.assert_close(clip_loss(similarity), truth)
    torch.testing.assert_close(blip_loss(similarity), truth)


def test_the_towers_of_clip_can_be_made_and_run() -> None:
    from transformers import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextTransformer

    config = CLIPTextConfig(vocab_size=20, hidden_size=8, intermediate_size=8, eos_token_id=19,
                            num_hidden_layers=1, num_attention_heads=2,
                            attn_implementation="eager")  # fmt: skip
    tower = CLIPTextTransformer(config).eval()
    out = tower(input_ids=torch.tensor([[1, 2, 19]]))
    assert out.last_hidden_state.shape == (1, 3, 8)
    assert {n.split(".")[0] for n, _ in tower.named_parameters()} == {
        "embeddings", "encoder", "final_layer_norm",
    }  # fmt: skip


def test_a_file_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a")
    assert get_file_from_repo(tmp_path, "vocab.txt") == str(tmp_path / "vocab.txt")
    assert get_file_from_repo(tmp_path, "vocab.txt", use_auth_token=None) is not None
    assert get_file_from_repo(tmp_path, "other.txt") is None


def test_examples_are_those_of_4_34(tmp_path: Path) -> None:
    from transformers import InputExample as Restored
    from transformers.data.processors.utils import InputFeatures as Features

    example = InputExample("1", "a", label="x")
    assert {**vars(Restored("1", "a", label="x"))} == vars(example)
    assert example.to_json_string() == json.dumps(vars(example), indent=2) + "\n"
    features = Features([1, 2], [1, 1])
    assert features.to_json_string() == (
        '{"input_ids": [1, 2], "attention_mask": [1, 1], "token_type_ids": null, "label": null}\n'
    )
    assert InputFeatures([1]).label is None

    class Processor(DataProcessor):
        def get_labels(self) -> list[str]:
            return ["bad", "good"]

    assert Processor().tfds_map(InputExample("1", "a", label="1")).label == "good"
    with pytest.raises(NotImplementedError):
        Processor().get_train_examples("")
    (tmp_path / "t.tsv").write_text('\ufeffa\t"b\nc\td\n', encoding="utf-8")
    assert Processor._read_tsv(tmp_path / "t.tsv") == [["a", '"b'], ["c", "d"]]


def test_migrate_knows_where_they_are() -> None:
    old = b"from transformers.models.bert.tokenization_bert import BasicTokenizer, BertTokenizer\n"
    new, changes = rewrite(old)
    assert b"from transformers.models.bert.tokenization_bert import BertTokenizer\n" in new
    assert b"from transformers.models.bert.tokenization_bert_legacy import BasicTokenizer" in new
    assert len(changes) == 1
    assert rewrite(new)[1] == []
    still = b"from transformers.models.tapas.tokenization_tapas import BasicTokenizer\n"
    assert rewrite(still) == (still, [])


def test_no_module_is_told_twice() -> None:
    for names, (home, models) in TOKENIZER_REEXPORTS.items():
        assert len(models.split()) == len(set(models.split())), names
        assert home.startswith("transformers.")
