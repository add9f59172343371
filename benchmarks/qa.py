"""Question answering beside the scripts of 4.34: windows, forward pass, decoding.

Both sides read the same made-up text. The scripts' features need the slow tokenizer; ours take the
fast one with the same vocabulary, and make the same token ids. Decoding is compared with
`legacy=True`, so that both sides give the same answers; the correct pairing costs the same.
Two filters of the scripts are opened wide in their features, because they take out right
answers: `paragraph_len`, which is compared with positions counted from the question on, and
`token_is_max_context`.
"""

import json
import random
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizer, BertTokenizerFast
from transformers import modeling_utils as reference_heads
from transformers.data.metrics import squad_metrics
from transformers.data.processors import squad as squad_processor

import headsmith.torch.squad as our_heads
from benchmarks.harness import Case, Sides
from headsmith.qa.beams import beams_of_head
from headsmith.qa.decoding import decode
from headsmith.qa.features import Featurized, Featurizer, collate
from headsmith.qa.spans import spans_of
from headsmith.qa.squad_data import Question

LENGTH, STEP, ASKED = 384, 128, 12
QUESTIONS, WORDS = 120, 500
FOLDER = Path(tempfile.gettempdir())


def cases() -> Iterator[Case]:
    """One row a stage; questions a second are `QUESTIONS` over the time."""
    setting = f"{QUESTIONS} questions on {WORDS} words, windows of {LENGTH}"
    yield Case("QA features", f"{setting}, one process", _features)
    yield Case("QA forward", f"16×{LENGTH}×384, 6 layers and the head", _forward)
    yield Case("QA decoding", f"{setting}, 5×5 beams, 20 best, files written", _decoding)


@cache
def _text() -> tuple[list[str], list[Question]]:
    rng = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = sorted({"".join(rng.choices(syllables, k=rng.randrange(1, 4))) for _ in range(4000)})
    asked = []
    for number in range(QUESTIONS):
        question = " ".join(rng.choices(words, k=ASKED))
        asked.append(Question(str(number), question, " ".join(rng.choices(words, k=WORDS))))
    return words, asked


@cache
def _tokenizers(whole_words: bool) -> tuple[Any, Any]:
    """A slow and a fast one; `whole_words` knows every word, else most are split."""
    words, _ = _text()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = words if whole_words else words[::3]
    pieces = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    vocabulary = dict.fromkeys([*special, *known, *pieces, *(f"##{p}" for p in pieces)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join(vocabulary), encoding="utf-8")
        return BertTokenizer(str(file)), BertTokenizerFast(str(file))


def _examples() -> list[Any]:
    return [
        squad_processor.SquadExample(q.id, q.question, q.context, None, None, "", [], False)
        for q in _text()[1]
    ]


def _theirs(tokenizer: Any, examples: list[Any]) -> list[Any]:
    squad_processor.squad_convert_example_to_features_init(tokenizer)
    found = []
    for number, example in enumerate(examples):
        for feature in squad_processor.squad_convert_example_to_features(
            example, LENGTH, STEP, 64, "max_length", False
        ):
            feature.example_index, feature.unique_id = number, len(found)
            found.append(feature)
    return found


def _featurizer(tokenizer: Any, asked: int) -> Featurizer:
    # The scripts count the step between windows, ours what they share.
    return Featurizer(tokenizer, max_length=LENGTH, stride=LENGTH - 3 - asked - STEP)


def _features() -> Sides:
    slow, fast = _tokenizers(False)
    questions = []
    for q in _text()[1]:
        # Questions of one length, so that both sides cut the windows at the same places.
        tokens = slow.tokenize(q.question)[:ASKED]
        while tokens and slow.tokenize(slow.convert_tokens_to_string(tokens)) != tokens:
            tokens.pop()
        questions.append((q, slow.convert_tokens_to_string(tokens)))
    chosen = [Question(q.id, t, q.context) for q, t in questions if len(slow.tokenize(t)) == ASKED]
    examples = [
        squad_processor.SquadExample(q.id, q.question, q.context, None, None, "", [], False)
        for q in chosen
    ]

    def ours() -> torch.Tensor:
        featurizer = _featurizer(fast, ASKED)
        windows = [w for item in featurizer(chosen) for w in item.windows]
        return torch.from_numpy(
            collate(windows, featurizer.layout, multiple_of=LENGTH)["input_ids"]
        )

    def theirs() -> torch.Tensor:
        return torch.tensor([f.input_ids for f in _theirs(slow, examples)])

    return Sides(ours, theirs)


def _forward() -> Sides:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    encoder = BertModel(config).eval()
    shape = SimpleNamespace(hidden_size=384, layer_norm_eps=1e-12, start_n_top=5, end_n_top=5)
    heads = our_heads.SQuADHead(shape), reference_heads.SQuADHead(shape)
    heads[1].load_state_dict(heads[0].state_dict())
    ids = torch.randint(5, 1000, (16, LENGTH))
    cls_index = torch.zeros(16, dtype=torch.long)
    p_mask = torch.ones(16, LENGTH)
    p_mask[:, ASKED + 2 : LENGTH * 2 // 3] = 0

    def call(head: torch.nn.Module) -> Any:
        with torch.no_grad():
            hidden = encoder(ids).last_hidden_state
            return tuple(head(hidden, cls_index=cls_index, p_mask=p_mask))

    return Sides(*(partial(call, head) for head in heads))


def _decoding() -> Sides:
    slow, fast = _tokenizers(True)
    examples = _examples()
    featurizer = _featurizer(fast, ASKED)
    items: list[Featurized] = featurizer(_text()[1])
    windows = [w for item in items for w in item.windows]
    owners = [n for n, item in enumerate(items) for _ in item.windows]
    offsets = [items[n].offsets for n in owners]
    features = _theirs(slow, examples)
    assert len(features) == len(windows), (len(features), len(windows))  # noqa: S101
    for feature in features:
        feature.paragraph_len = LENGTH + 1
        feature.token_is_max_context = dict.fromkeys(feature.token_to_orig_map, True)
    rng = np.random.default_rng(0)
    shape = (len(windows), LENGTH)
    starts = rng.normal(size=shape) * 3
    begins = np.array([w.context_begin for w in windows])
    index = np.argsort(-starts, axis=1)[:, :5]
    log_starts = np.take_along_axis(starts, index, 1) - np.log(np.exp(starts).sum(1, keepdims=True))
    # Ends near some start, as a trained head has them.
    near = np.repeat(index[:, None, :], 5, axis=1) + rng.integers(0, 20, (len(windows), 5, 5))
    # Theirs looks every end up in a table of context tokens, now that its filter is open.
    last = begins + [w.context_tokens - 1 for w in windows]
    ends = np.minimum(near, last[:, None, None]).reshape(len(windows), 25)
    log_ends = np.log(rng.random((len(windows), 25)))
    cls_logits = rng.normal(size=len(windows))
    assert (begins == ASKED + 2).all()  # noqa: S101
    flat = (log_starts, index, log_ends, ends, cls_logits)
    results = [
        squad_processor.SquadResult(
            number,
            np.exp(log_starts[number]).tolist(),
            np.exp(log_ends[number]).tolist(),
            index[number].tolist(),
            ends[number].tolist(),
            float(cls_logits[number]),
        )
        for number in range(len(windows))
    ]

    def ours() -> torch.Tensor:
        beams = beams_of_head(*flat, legacy=True)
        table = spans_of(windows, beams, offsets, owners, legacy=True)
        found = decode(items, table, n_best=20)
        nbest = {
            p.id: [
                {"text": s.text, "probability": s.probability, "start": s.start, "end": s.end}
                for s in p.nbest
            ]
            for p in found
        }
        answers = {p.id: p.answer for p in found}
        _write("ours", answers, nbest, {p.id: p.no_answer_score for p in found})
        return _marks(answers)

    def theirs() -> torch.Tensor:
        answers = squad_metrics.compute_predictions_log_probs(
            examples,
            features,
            results,
            20,
            30,
            *(str(FOLDER / f"headsmith-bench-theirs-{n}.json") for n in range(3)),
            5,
            5,
            True,
            slow,
            False,
        )
        return _marks(answers)

    return Sides(ours, theirs)


def _write(name: str, *values: Any) -> None:
    for number, value in enumerate(values):
        text = json.dumps(value, indent=4) + "\n"
        (FOLDER / f"headsmith-bench-{name}-{number}.json").write_text(text, encoding="utf-8")


def _marks(answers: dict[str, str]) -> torch.Tensor:
    """Texts as numbers, for the harness to compare."""
    return torch.tensor([zlib.crc32(answers[key].encode()) for key in sorted(answers)])
