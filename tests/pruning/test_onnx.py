"""ONNX export: what ONNX Runtime gives is what the model gives, on any shape."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny import TINY_MODELS, batch_for, plan_from
from torch import nn

from headsmith.errors import CheckpointError, DataError, HeadsmithError, MissingExtraError
from headsmith.pruning import apply_plan, describe, export_onnx
from headsmith.pruning import onnx as ours
from headsmith.pruning.onnx import MODEL_FILE
from headsmith.spec.plan import BlockPlan, PrunePlan


def _cut(name: str) -> nn.Module:
    """Half of every block; of the first layer nothing."""
    model = TINY_MODELS[name](dtype=torch.float32)
    plan = plan_from(model, lambda count: list(range(0, count, 2)))
    gone = {
        b.name: BlockPlan(b.kind, b.count, ()) for b in describe(model).blocks if not b.layer_index
    }
    apply_plan(model, PrunePlan(plan.model_type, {**plan.blocks, **gone}))
    return model


def _run(folder: Path, batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        str(folder / MODEL_FILE), providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}
    assert wanted == set(batch)
    found = session.run(names, {n: v.numpy() for n, v in batch.items()})
    return dict(zip(names, found, strict=True))


_OUTPUTS = {
    "bert": ["last_hidden_state", "pooler_output"],
    "electra": ["start_logits", "end_logits"],
    "gpt2": ["logits"],
}


@pytest.mark.parametrize("name", _OUTPUTS)
def test_pruned_models_of_every_kind(tmp_path: Path, name: str) -> None:
    model = _cut(name)
    done = export_onnx(model, tmp_path / "m")
    assert done.outputs == _OUTPUTS[name]
    assert done.file == tmp_path / "m" / MODEL_FILE
    assert done.bytes == done.file.stat().st_size
    assert done.difference < 1e-4
    assert len(done.shapes) >= 4
    onnx.checker.check_model(str(done.file))
    # A shape of our own, not one of those it was checked on.
    batch = batch_for(model, size=5, length=11)
    if "token_type_ids" in done.inputs:
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    with torch.no_grad():
        expected = model(**batch)
    for key, value in _run(tmp_path / "m", batch).items():
        assert np.allclose(value, expected[key].numpy(), atol=1e-4), key
    assert not (set(expected.keys()) - {"past_key_values"}) - set(done.outputs)
    assert "quantization_config" not in json.loads((tmp_path / "m/config.json").read_text())


def test_dense_and_in_half_precision(tmp_path: Path) -> None:
    """Exported in float32; the model itself stays as it was."""
    model = TINY_MODELS["distilbert"](dtype=torch.bfloat16).train()
    done = export_onnx(model, tmp_path / "m", texts={"a/b.txt": "x"})
    assert model.training
    assert next(model.parameters()).dtype == torch.bfloat16
    assert next(model.parameters()).requires_grad
    assert done.inputs == ["input_ids", "attention_mask"]
    assert (tmp_path / "m/a/b.txt").read_text() == "x"
    found = _run(tmp_path / "m", batch_for(model, size=1, length=3))
    assert found["last_hidden_state"].dtype == np.float32


def test_images(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=12,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=16,
            image_size=8,
            patch_size=4,
            num_labels=3,
        )
    ).eval()
    done = export_onnx(model, tmp_path / "m")
    assert (done.inputs, done.outputs) == (["pixel_values"], ["logits"])
    pixels = {"pixel_values": torch.randn(4, 3, 8, 8)}
    with torch.no_grad():
        expected = model(**pixels).logits
    assert np.allclose(_run(tmp_path / "m", pixels)["logits"], expected.numpy(), atol=1e-5)


def test_other_outputs_are_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ours._write

    def spoiled(caller: Any, file: Path) -> None:
        write(caller, file)
        with torch.no_grad():
            caller.model.embeddings.word_embeddings.weight.mul_(-3.0)

    monkeypatch.setattr(ours, "_write", spoiled)
    with pytest.raises(HeadsmithError, match=r"another 'last_hidden_state' on a batch of 1 × 1: "):
        export_onnx(_cut("distilbert"), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    t5 = T5Model(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(DataError, match="Received a T5Model, which takes input_ids"):
        export_onnx(t5, tmp_path / "m")

    model = TINY_MODELS["bert"](dtype=torch.float32)
    forward = type(model).forward

    class Odd(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
            if bool(input_ids.sum() > 3):  # no graph can tell
                input_ids = input_ids + 0
            return forward(self, input_ids, attention_mask, **kwargs)

    model.__class__ = Odd
    with pytest.raises(CheckpointError, match=r"torch\.onnx\.export cannot export this Odd: "):
        export_onnx(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
    assert logging.root.manager.disable == 0


def test_without_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import headsmith.extras as extras

    find = extras.find_spec
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'headsmith\[onnx\]'"):
        export_onnx(TINY_MODELS["bert"](), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
