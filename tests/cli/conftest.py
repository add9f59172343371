"""Tiny saved models with a tokenizer, texts to calibrate on, and the command line as a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headsmith.cli.main import run

# Read when huggingface_hub is imported: no test reaches for the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Fixtures that need torch import it themselves: a lone test of --help should not wait for it.

TEXTS = """\
The cat sleeps on the warm stone wall.
A small boat drifts across the quiet lake.
Rain fell all night on the old tin roof.
She reads a book beside the open window.
The baker sells fresh bread every morning.
Two children run along the empty beach.
He paints the garden fence with white paint.
The train leaves the station at seven.
A red kite rises over the green hill.
My brother plays the piano in the evening.
The moon hangs low above the dark forest.
They plant apple trees behind the house.
A dog barks at the passing car.
The teacher writes a word on the board.
Snow covers the road to the village.
We drink hot tea in the cold kitchen.
The old clock stopped at noon.
A bird builds its nest under the roof.
She walks home through the narrow street.
The river runs fast after the rain.
He fixes the broken chair with glue.
The market opens before the sun rises.
A letter arrived from a distant friend.
The baby laughs at the yellow ball.
They climb the hill to see the sea.
The lamp throws a soft light on the table.
A farmer drives his cows to the field.
The soup needs a little more salt.
She keeps old coins in a wooden box.
The wind shakes the leaves of the tree.
A ship enters the harbour at dawn.
He counts the stars above the roof.
The doctor visits the village on Monday.
Fresh snow lies on the garden wall.
The girl feeds bread to the birds.
An old man sits by the quiet river.
The road turns left behind the church.
We found a key under the stone.
The kitchen smells of bread and apples.
A boy carries water from the well.
The sun dries the clothes in the garden.
She sings an old song to the child.
The fisherman mends his net on the beach.
A storm broke two windows last night.
The horse stands still in the tall grass.
He opens the door and sees the snow.
The library is quiet in the evening.
A mouse hides behind the kitchen table.
They sail around the island in summer.
The bridge crosses the river near the mill.
She gives the dog a piece of meat.
The mill grinds corn for the village.
A long shadow falls across the road.
The bell rings and the children run.
He hears the sea from his small room.
The train crosses the bridge at night.
A blue door leads to the garden.
The cook cuts apples for the cake.
We watch the boats from the hill.
The tailor sews a coat for the winter.
"""


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def headsmith(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run `headsmith` with these arguments in this process, errors and exit code included."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short English sentences, one a line; read only."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text(TEXTS, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved BERT of two layers of four heads, 32 positions, with its tokenizer; read only."""
    from transformers import BertConfig, BertModel

    return _save(
        tmp_path_factory.mktemp("models") / "tiny-encoder",
        lambda words: BertModel(
            BertConfig(
                vocab_size=words,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=32,
            )
        ),
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
    )


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved GPT-2 of two layers of four heads, 32 positions, with its tokenizer; read only."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return _save(
        tmp_path_factory.mktemp("models") / "tiny-gpt2",
        lambda words: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=words,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_inner=48,
                n_positions=32,
                bos_token_id=1,
                eos_token_id=1,
            )
        ),
        {"unk_token": "[UNK]", "bos_token": "[EOS]", "eos_token": "[EOS]"},
    )


@pytest.fixture
def sentence_encoder(tiny_encoder: Path, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """The tiny encoder as a Sentence-Transformers folder with this pooling config."""
    import json
    import shutil

    def make(pooling: dict[str, Any]) -> Path:
        folder = tmp_path / "sentence-encoder"
        shutil.copytree(tiny_encoder, folder)
        kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds.items())
        ]
        (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
        return folder

    return make


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and no narrow columns, whoever runs the tests."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def _save(folder: Path, build: Callable[[int], Any], special: dict[str, str]) -> Path:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = sorted(set(TEXTS.lower().replace(".", " .").split()))
    vocabulary = {w: i for i, w in enumerate([*dict.fromkeys(special.values()), *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    torch.manual_seed(0)
    model = build(len(vocabulary)).eval()
    # Initial weights are so small that heads hardly differ.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder
