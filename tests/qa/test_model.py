"""QAModel: saved and loaded, checkpoints of Transformers, padding, pruning."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from headsmith.errors import CheckpointError
from headsmith.pruning import LossObjective, load, masked, masks_of, plan_of, prune, save
from headsmith.qa import QAModel, QASettings
from headsmith.qa.features import Featurizer, collate
from headsmith.qa.training import to_tensors


def batch_of(tokenizer, questions, labels=True):
    featurizer = Featurizer(tokenizer, max_length=40, stride=12)
    windows = [w for item in featurizer(questions) for w in item.windows]
    return to_tensors(collate(windows, featurizer.layout, labels=labels), torch.device("cpu"))


def test_saved_and_loaded_it_says_the_same(qa_model, tokenizers, questions, tmp_path):
    batch = batch_of(tokenizers["bert"], questions)
    qa_model.save_pretrained(tmp_path)
    again = QAModel.from_pretrained(tmp_path)
    assert again.settings == qa_model.settings
    assert not again.training
    torch.testing.assert_close(again(**batch).loss, qa_model(**batch).loss, rtol=0, atol=0)
    # The folder is a checkpoint of the encoder too.
    encoder = load(tmp_path)
    for key, value in qa_model.encoder.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[key], value, rtol=0, atol=0)
    assert not list(tmp_path.glob("*.bin"))


def test_loss_and_predictions_of_one_call(qa_model, tokenizers, questions):
    batch = batch_of(tokenizers["bert"], questions)
    out = qa_model(**batch, return_predictions=True)
    assert out.loss.ndim == 0
    assert (out.start_top_log_probs <= 0).all()
    assert qa_model.head.answer_start == "soft"


def test_a_head_that_is_damaged_or_missing_is_told(qa_model, tmp_path):
    qa_model.save_pretrained(tmp_path)
    file = tmp_path / "qa_head.safetensors"
    state = load_file(file)
    save_file({k: v[..., :3].contiguous() for k, v in state.items()}, file)
    with pytest.raises(CheckpointError, match="does not fit its encoder"):
        QAModel.from_pretrained(tmp_path)
    file.write_bytes(b"no safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        QAModel.from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        QAModel.from_pretrained(tmp_path)
    (tmp_path / "headsmith-qa.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be understood"):
        QAModel.from_pretrained(tmp_path)
    (tmp_path / "headsmith-qa.json").unlink()
    with pytest.raises(CheckpointError, match="no QA model with a SQuAD head"):
        QAModel.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="No QA model can be opened"):
        QAModel.from_pretrained(tmp_path / "nowhere")


def test_a_broken_connection_is_told_from_a_model_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        try:
            raise ConnectionResetError("reset by peer")
        except ConnectionResetError as error:
            raise OSError("Can't load the configuration") from error

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", broken)
    monkeypatch.setattr("headsmith.qa.model.read_settings", lambda path: None)
    with pytest.raises(CheckpointError, match=r"'someone/reader' broke off \(reset by peer\)"):
        QAModel.from_pretrained("someone/reader")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", ["XLNet", "XLM", "Flaubert"])
def test_checkpoints_of_transformers(family, tmp_path):
    import transformers

    sizes = {
        "XLNet": {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 16},
        "XLM": {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "n_langs": 1},
        "Flaubert": {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "n_langs": 1},
    }[family]
    config = getattr(transformers, f"{family}Config")(
        vocab_size=20, start_n_top=3, end_n_top=2, **sizes
    )
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}ForQuestionAnswering")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = QAModel.from_pretrained(tmp_path / "theirs")
    ids = torch.randint(3, 20, (3, 9))
    mask = torch.zeros(3, 9)
    mask[:, 7:] = 1
    cls = torch.tensor([0, 1, 2])
    with torch.no_grad():
        got = ours(ids, torch.ones_like(ids), p_mask=mask, cls_index=cls)
        expected = theirs(ids, p_mask=mask, cls_index=cls, return_dict=True)
    torch.testing.assert_close(got.start_top_index, expected.start_top_index)
    torch.testing.assert_close(got.start_top_log_probs.exp(), expected.start_top_log_probs)
    torch.testing.assert_close(got.end_top_log_probs.exp(), expected.end_top_log_probs)
    torch.testing.assert_close(got.end_top_index, expected.end_top_index)
    torch.testing.assert_close(got.cls_logits.reshape(-1), expected.cls_logits.reshape(-1))
    ours.save_pretrained(tmp_path / "ours")
    again = QAModel.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        same = again(ids, torch.ones_like(ids), p_mask=mask, cls_index=cls)
    torch.testing.assert_close(same.end_top_log_probs, got.end_top_log_probs, rtol=0, atol=0)


def test_padding_on_the_left_moves_nothing(qa_model, tokenizers, questions):
    import copy

    left = copy.deepcopy(tokenizers["bert"])
    left.padding_side = "left"
    right = batch_of(tokenizers["bert"], questions)
    other = batch_of(left, questions)
    assert (other["attention_mask"][:, 0] == 0).any()
    with torch.no_grad():
        a, b = qa_model(**right), qa_model(**other)
    torch.testing.assert_close(a.loss, b.loss)


@pytest.mark.parametrize("family", ["RobertaModel", "DistilBertModel", "GPT2Model"])
def test_other_encoders(family, tokenizers, questions, tmp_path):
    import transformers

    sizes = {
        "RobertaModel": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 20,
            "max_position_embeddings": 64,
            "pad_token_id": 1,
        },
        "DistilBertModel": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 20},
        "GPT2Model": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
    }[family]
    config = getattr(transformers, family.replace("Model", "Config"))(vocab_size=400, **sizes)
    torch.manual_seed(0)
    model = QAModel(getattr(transformers, family)(config)).eval()
    batch = batch_of(tokenizers["bert"], questions)
    loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(QAModel.from_pretrained(tmp_path)(**batch).loss, loss)


def test_an_encoder_with_a_decoder_is_refused():
    from transformers import BartConfig, BartModel

    config = BartConfig(
        vocab_size=20,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
    )
    with pytest.raises(CheckpointError, match="an encoder with a decoder"):
        QAModel(BartModel(config))


def test_pruned_by_its_own_loss_and_opened_again(qa_model, tokenizers, questions, tmp_path):
    batches = [batch_of(tokenizers["bert"], questions[i : i + 4]) for i in range(0, 16, 4)]
    objective = LossObjective(lambda output, batch: output.loss)
    dense = QAModel(qa_model.encoder, qa_model.settings)
    dense.load_state_dict(qa_model.state_dict())
    result = prune(qa_model, batches, objective, flops=0.5, length=20, mend=False)
    with torch.no_grad(), masked(result.dense, masks_of(result.dense, result.plan)):
        expected = result.dense(**batches[0]).loss
    torch.testing.assert_close(qa_model(**batches[0]).loss, expected, rtol=1e-4, atol=1e-5)
    save(qa_model, tmp_path / "smaller", tokenizer=tokenizers["bert"])
    again = QAModel.from_pretrained(tmp_path / "smaller")
    assert plan_of(again) == result.plan
    torch.testing.assert_close(again(**batches[0]).loss, qa_model(**batches[0]).loss)
    told = json.loads((tmp_path / "smaller" / "config.json").read_text())
    assert told["quantization_config"]["quant_method"] == "headsmith"
    # And pruned once more.
    prune(again, batches, objective, flops=0.6, length=20)
    save(again, tmp_path / "smallest")
    QAModel.from_pretrained(tmp_path / "smallest")


def test_settings_out_of_range():
    for wrong in ({"start_n_top": 0}, {"stride": -1}, {"max_length": 2.5}):
        with pytest.raises(ValueError, match="whole number"):
            QASettings(**wrong)
    with pytest.raises(ValueError, match="soft or gold"):
        QASettings(answer_start="hard")
