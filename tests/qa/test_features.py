"""Windows: against what the tokenizers themselves make of pairs, and against the characters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from headsmith.errors import DataError
from headsmith.qa.features import Featurizer, collate, features
from headsmith.qa.layout import Layout
from headsmith.qa.squad_data import Problems, Question


@pytest.mark.parametrize(("length", "stride"), [(40, 12), (48, 0), (400, 20)])
def test_windows_are_those_of_the_tokenizer(tokenizer, questions, length, stride):
    featurizer = Featurizer(tokenizer, max_length=length, stride=stride)
    first = featurizer.layout.question_first
    assert first == (tokenizer.padding_side == "right")
    for item in featurizer(questions):
        texts = (item.question.question, item.question.context)
        expected = tokenizer(
            *(texts if first else texts[::-1]),
            truncation="only_second" if first else "only_first",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
            return_offsets_mapping=True,
        )
        assert [w.input_ids.tolist() for w in item.windows] == expected["input_ids"]
        if "token_type_ids" in tokenizer.model_input_names:
            types = [w.token_type_ids.tolist() for w in item.windows]
            assert types == expected["token_type_ids"]
        else:
            assert all(w.token_type_ids is None for w in item.windows)
        for number, window in enumerate(item.windows):
            owner = expected.sequence_ids(number)
            context = [i for i, o in enumerate(owner) if o == (1 if first else 0)]
            assert context[0] == window.context_begin
            assert len(context) == window.context_tokens
            for i in context:
                token = window.first_token + i - window.context_begin
                start, end = expected["offset_mapping"][number][i]
                # White space around it belongs to no token here.
                text = item.question.context
                assert text[slice(*item.offsets[token])] == text[start:end].strip()


def test_answers_come_back_as_characters(tokenizer, questions):
    featurizer = Featurizer(tokenizer, max_length=40, stride=12)
    for item in featurizer(questions):
        found = set()
        for window in item.windows:
            if window.is_impossible:
                assert window.start_position == window.end_position == window.cls_index
                continue
            shift = window.first_token - window.context_begin
            start = item.offsets[window.start_position + shift, 0]
            end = item.offsets[window.end_position + shift, 1]
            found.add(item.question.context[start:end])
        if item.question.is_impossible:
            assert not found
        else:
            # A token may reach beyond the answer, never fall short of it.
            assert found
            assert all(item.question.answers[0].text in text for text in found)


def test_a_batch_is_masked_padded_and_shifted(tokenizer, questions):
    featurizer = Featurizer(tokenizer, max_length=60, stride=12)
    layout = featurizer.layout
    windows = [w for item in featurizer(questions) for w in item.windows]
    batch = collate(windows, layout, labels=True, multiple_of=8)
    length = batch["input_ids"].shape[1]
    assert length % 8 == 0
    assert ("token_type_ids" in batch) == layout.has_types
    for row, window in enumerate(windows):
        own = batch["attention_mask"][row].astype(bool)
        assert batch["input_ids"][row][own].tolist() == window.input_ids.tolist()
        assert (batch["input_ids"][row][~own] == tokenizer.pad_token_id).all()
        assert own[-1] if layout.pad_left else own[0]
        cls = batch["cls_index"][row]
        assert batch["input_ids"][row, cls] == tokenizer.cls_token_id
        assert not batch["p_mask"][row, cls]
        open_ = np.flatnonzero(~batch["p_mask"][row])
        assert len(open_) == window.context_tokens + 1
        assert own[open_].all()
        if window.is_impossible:
            assert batch["start_positions"][row] == batch["end_positions"][row] == cls
        else:
            assert {batch["start_positions"][row], batch["end_positions"][row]} <= set(open_)
        assert batch["is_impossible"][row] == window.is_impossible
    if layout.has_types and layout.pad_left:
        assert (
            batch["token_type_ids"][batch["attention_mask"] == 0] == tokenizer.pad_token_type_id
        ).all()


def test_workers_make_the_same(tokenizers, questions):
    featurizer = Featurizer(tokenizers["bert"], max_length=40, stride=12)
    asked = [*questions, Question("long", "why " * 60, "Because.")]
    alone, together = Problems(), Problems()
    one = list(features(asked, featurizer, problems=alone, batch_size=3))
    two = list(features(asked, featurizer, problems=together, batch_size=3, workers=1))
    assert [f.question for f in one] == [f.question for f in two] == questions
    for a, b in zip(one, two, strict=True):
        for v, w in zip(a.windows, b.windows, strict=True):
            assert v.input_ids.tolist() == w.input_ids.tolist()
            assert v.start_position == w.start_position
    assert alone.counts == together.counts == {"question too long": 1}


def test_what_cannot_be_used_is_named(tokenizers):
    featurizer = Featurizer(tokenizers["bert"], max_length=40, stride=12)
    problems = Problems()
    bad = [Question("long", "why " * 60, "Because."), Question("none", "Why?", "\u200b")]
    assert featurizer(bad, problems) == []
    assert dict(problems.counts) == {"question too long": 1, "empty context": 1}
    with pytest.raises(DataError, match=r"Question long: its \d+ tokens leave 0 of a window of 40"):
        featurizer(bad)


def test_tokenizers_that_will_not_do():
    with pytest.raises(DataError, match="no fast tokenizer"):
        Layout.of(SimpleNamespace(is_fast=False))


def test_sizes_that_will_not_do(tokenizers):
    with pytest.raises(ValueError, match="max_length 0 and stride -1"):
        Featurizer(tokenizers["bert"], max_length=0, stride=-1)


def test_a_tokenizer_without_any_cls():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    with pytest.raises(DataError, match="adds no CLS token"):
        Featurizer(tokenizer)
