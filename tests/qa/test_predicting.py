"""Answers from a model: streams, long documents, and the same answers in any batches."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from headsmith.qa import DecodingOptions, Problems, Question, answer, predict, predicting
from headsmith.qa.features import Featurizer, collate
from headsmith.qa.predicting import predict_features
from headsmith.qa.settings import Calibration
from headsmith.qa.training import to_tensors


@pytest.fixture
def featurizer(tokenizers):
    return Featurizer(tokenizers["bert"], max_length=40, stride=12)


def by_hand(model, featurizer, question):
    """The best span of all windows, each run alone, by loops over the head's own scores."""
    (item,) = featurizer([question])
    best = {}
    for window in item.windows:
        batch = to_tensors(collate([window], featurizer.layout), torch.device("cpu"))
        with torch.no_grad():
            hidden = model.hidden_states(
                batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids")
            )
            starts = model.head.start_logits(hidden, p_mask=batch["p_mask"]).log_softmax(1)[0]
            for s in starts.topk(5).indices.tolist():
                ends = model.head.end_logits(
                    hidden, start_positions=torch.tensor([s]), p_mask=batch["p_mask"]
                ).log_softmax(1)[0]
                for e in ends.topk(5).indices.tolist():
                    shift = window.first_token - window.context_begin
                    context = range(
                        window.context_begin, window.context_begin + window.context_tokens
                    )
                    if s in context and e in context and s <= e < s + 30:
                        span = (
                            int(item.offsets[s + shift, 0]),
                            int(item.offsets[e + shift, 1]),
                        )
                        score = float(starts[s] + ends[e])
                        best[span] = max(best.get(span, -math.inf), score)
    return max(best.items(), key=lambda pair: pair[1])


def test_the_best_answer_is_the_best_of_all_windows(qa_model, featurizer, questions):
    for found, question in zip(predict(qa_model, featurizer, questions), questions, strict=True):
        (start, end), score = by_hand(qa_model, featurizer, question)
        assert found.id == question.id
        assert (found.nbest[0].start, found.nbest[0].end) == (start, end)
        assert found.nbest[0].log_prob == pytest.approx(score, abs=1e-4)
        assert found.answer == question.context[start:end]
        assert found.window[0] <= start < end <= found.window[1]


def test_batches_do_not_matter(qa_model, featurizer, questions, monkeypatch):
    whole = list(predict(qa_model, featurizer, questions))
    monkeypatch.setattr(predicting, "_GROUP", 5)
    parts = list(
        predict(qa_model, featurizer, iter(questions), DecodingOptions(batch_size=3), at_once=2)
    )
    assert [p.id for p in parts] == [p.id for p in whole]
    for a, b in zip(parts, whole, strict=True):
        assert [(s.start, s.end, s.window) for s in a.nbest] == [
            (s.start, s.end, s.window) for s in b.nbest
        ]
        assert a.no_answer_score == pytest.approx(b.no_answer_score, abs=1e-4)


def test_a_long_document_keeps_few_spans(qa_model, featurizer, questions, monkeypatch):
    """Whatever the length, no more windows are run or kept at once than a group holds."""
    context = " ".join(q.context for q in questions[::5]) * 40
    long = Question("long", "Which river does the mill stand beside?", context)
    sizes, kept = [], []
    run, joined = predicting.outputs_of, predicting.SpanTable.joined

    def outputs_of(model, windows, layout, options):
        sizes.append(len(windows))
        yield from run(model, windows, layout, options)

    def watching(tables, keep):
        table = joined(tables, keep)
        kept.append(len(table.question))
        return table

    monkeypatch.setattr(predicting, "_GROUP", 64)
    monkeypatch.setattr(predicting, "outputs_of", outputs_of)
    monkeypatch.setattr(predicting.SpanTable, "joined", staticmethod(watching))
    (item,) = featurizer([long])
    assert len(item.windows) > 200
    (found,) = predict_features(qa_model, featurizer.layout, [item], DecodingOptions(n_best=3))
    assert max(sizes) == 64
    assert sum(sizes) == len(item.windows)
    assert max(kept) <= 12
    (start, end), _ = by_hand(qa_model, featurizer, long)
    assert found.answer == context[start:end]


def test_one_question(qa_model, tokenizers, questions):
    found = answer(qa_model, tokenizers["bert"], questions[0].question, questions[0].context)
    assert found.answer in questions[0].context
    qa_model.settings = replace(
        qa_model.settings, calibration=Calibration("class", threshold=-math.inf)
    )
    silent = answer(qa_model, tokenizers["bert"], questions[0].question, questions[0].context)
    assert silent.answer == ""
    assert silent.nbest == found.nbest


def test_a_stream_goes_on_after_what_cannot_be_used(qa_model, featurizer, questions):
    problems = Problems()
    stream = [questions[0], Question("long", "why " * 90, "Because."), questions[1]]
    found = list(predict(qa_model, featurizer, stream, problems=problems, at_once=1))
    assert [p.id for p in found] == [questions[0].id, questions[1].id]
    assert problems.records[0].id == "long"


def test_legacy_pairs_as_the_scripts_did(qa_model, featurizer, questions):
    """The cell i * E + j for start i, and probabilities added: spans of other starts win."""
    items = featurizer(questions)
    old = predict_features(qa_model, featurizer.layout, items, DecodingOptions(legacy=True))
    new = predict_features(qa_model, featurizer.layout, items)
    assert any(a.answer != b.answer for a, b in zip(old, new, strict=True))
    assert all(0 <= s.log_prob <= 2 for p in old for s in p.nbest)
