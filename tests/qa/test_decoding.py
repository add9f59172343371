"""Decoding against loops over every pair, and against a whole distribution of spans."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headsmith.qa.beams import beams_of_head
from headsmith.qa.decoding import decode
from headsmith.qa.features import Featurized, Window
from headsmith.qa.settings import Calibration
from headsmith.qa.spans import SpanTable, spans_of
from headsmith.qa.squad_data import Question
from headsmith.spec.configs import SquadHeadConfig
from headsmith.torch import SQuADHead

WORDS = 26
CONTEXT = " ".join(chr(97 + i) * (1 + i % 3) for i in range(WORDS))


def item(name: str = "q", room: int = 10, shared: int = 4, begin: int = 3) -> Featurized:
    """A context of words, one token each, read through windows."""
    offsets, place = [], 0
    for word in CONTEXT.split():
        offsets.append((place, place + len(word)))
        place += len(word) + 1
    windows = []
    for first in range(0, WORDS, room - shared):
        count = min(room, WORDS - first)
        ids = np.zeros(begin + count + 1, np.int32)
        windows.append(Window(ids, None, begin, count, first, 0, 0, 0, True))
        if first + count == WORDS:
            break
    question = Question(name, "?", CONTEXT)
    return Featurized(question, np.array(offsets, np.int32), tuple(windows))


def outputs(windows: int, seed: int, starts: int = 4, ends: int = 3, length: int = 16):
    """Flat outputs of a head, as SQuADHead flattens them."""
    rng = np.random.default_rng(seed)
    index = np.stack([rng.permutation(length)[:starts] for _ in range(windows)])
    end_index = rng.integers(0, length, (windows, ends * starts))
    log = [np.log(rng.random(s)) for s in ((windows, starts), (windows, ends * starts))]
    return log[0], index, log[1], end_index, rng.normal(size=windows), -rng.random(windows)


def by_loops(items, flat, questions, max_tokens, legacy=False, keep=80):
    """Every pair in turn, in plain Python."""
    start_log, start_index, end_log, end_index, *_ = flat
    number, found, windows = {}, {}, [w for f in items for w in f.windows]
    for w, window in enumerate(windows):
        q = questions[w]
        place = number.get(q, 0)
        number[q] = place + 1
        starts = start_index.shape[1]
        ends = end_index.shape[1] // starts
        for i in range(starts):
            for j in range(ends):
                cell = i * ends + j if legacy else j * starts + i
                s, e = start_index[w, i], end_index[w, cell]
                a, b = start_log[w, i], end_log[w, cell]
                inside = range(window.context_begin, window.context_begin + window.context_tokens)
                if s not in inside or e not in inside or e < s or e - s + 1 > max_tokens:
                    continue
                token = window.first_token - window.context_begin
                span = (
                    q,
                    int(items[q].offsets[s + token, 0]),
                    int(items[q].offsets[e + token, 1]),
                )
                score = math.exp(a) + math.exp(b) if legacy else a + b
                found[span] = max(found.get(span, -math.inf), score)
    ranked = sorted(found.items(), key=lambda x: (x[0][0], -x[1], x[0][1:]))
    kept, counts = [], {}
    for span, score in ranked:
        counts[span[0]] = counts.get(span[0], 0) + 1
        if counts[span[0]] <= keep:
            kept.append((*span, score))
    return kept


@pytest.mark.parametrize("legacy", [False, True])
@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 12), keep=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_spans_are_those_of_the_loops(legacy, seed, tokens, keep):
    items = [item("a"), item("b", room=13, begin=2)]
    windows = [w for f in items for w in f.windows]
    questions = [n for n, f in enumerate(items) for _ in f.windows]
    flat = outputs(len(windows), seed)
    table = spans_of(
        windows,
        beams_of_head(*flat, legacy=legacy),
        [items[q].offsets for q in questions],
        questions,
        max_answer_tokens=tokens,
        keep=keep,
        legacy=legacy,
    )
    expected = by_loops(items, flat, questions, tokens, legacy, keep)
    got = list(zip(table.question, table.start, table.end, table.score, strict=True))
    assert [tuple(map(int, g[:3])) for g in got] == [e[:3] for e in expected]
    np.testing.assert_allclose(table.score, [e[3] for e in expected])


def test_tables_of_parts_make_the_table_of_the_whole():
    items = [item("a"), item("b")]
    windows = [w for f in items for w in f.windows]
    questions = [n for n, f in enumerate(items) for _ in f.windows]
    numbers = [n for f in items for n in range(len(f.windows))]
    flat = outputs(len(windows), 5)
    offsets = [items[q].offsets for q in questions]

    def part(rows):
        return spans_of(
            [windows[r] for r in rows],
            beams_of_head(*(x[rows] for x in flat)),
            [offsets[r] for r in rows],
            [questions[r] for r in rows],
            numbers=[numbers[r] for r in rows],
            keep=6,
        )

    whole = part(list(range(len(windows))))
    order = np.random.default_rng(0).permutation(len(windows)).tolist()
    joined = SpanTable.joined([part(order[:3]), part(order[3:5]), part(order[5:])], 6)
    for name in ("question", "start", "end", "score", "window"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.no_answer == whole.no_answer


def test_every_span_of_a_small_head_gets_its_true_probability():
    """With as many beams as tokens, the list is the whole distribution P(start) P(end | start)."""
    torch.manual_seed(0)
    length, one = 14, item(room=26)
    window = Window(np.zeros(length, np.int32), None, 3, 10, 0, 0, 0, 0, True)
    one = Featurized(one.question, one.offsets, (window,))
    head = SQuADHead(SquadHeadConfig(8, start_n_top=14, end_n_top=14), log_probs=True).double()
    hidden = torch.randn(1, length, 8, dtype=torch.float64)
    p_mask = torch.ones(1, length)
    p_mask[0, [0, *range(3, 13)]] = 0
    with torch.no_grad():
        out = head(hidden, p_mask=p_mask, return_dict=True)
        starts = head.start_logits(hidden, p_mask=p_mask).log_softmax(1)[0]
    flat = [t.numpy() for t in out.to_tuple()]
    table = spans_of([window], beams_of_head(*flat), [one.offsets], [0], keep=1000)
    (found,) = decode([one], table, n_best=1000)
    assert len(found.nbest) == 55  # all pairs of 10 tokens in order
    for span in found.nbest:
        s = [int(x) for x in one.offsets[:, 0]].index(span.start) + 3
        e = [int(x) for x in one.offsets[:, 1]].index(span.end) + 3
        with torch.no_grad():
            ends = head.end_logits(hidden, start_positions=torch.tensor([s]), p_mask=p_mask)
        expected = float(starts[s] + ends.log_softmax(1)[0, e])
        assert span.log_prob == pytest.approx(expected)
        assert span.probability == pytest.approx(math.exp(expected))
    assert 0.1 < sum(s.probability for s in found.nbest) < 1


def table_of(rows, no_answer=(0.0, math.nan)):
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    return SpanTable(
        *columns[:3], columns[3].astype(float), np.zeros(len(rows), int), {0: no_answer}
    )


def test_no_text_and_no_character_twice():
    one = Featurized(Question("q", "?", "tea and tea and milk"), np.zeros((1, 2), np.int32), (
        Window(np.zeros(3, np.int32), None, 1, 1, 0, 0, 0, 0, True),
    ))  # fmt: skip
    rows = [(0, 0, 3, -1.0), (0, 8, 11, -2.0), (0, 0, 7, -3.0), (0, 16, 20, -4.0)]
    (found,) = decode([one], table_of(rows))
    assert [s.text for s in found.nbest] == ["tea", "tea and", "milk"]
    (found,) = decode([one], table_of(rows), overlaps=False)
    assert [s.text for s in found.nbest] == ["tea", "milk"]
    (found,) = decode([one], table_of(rows), n_best=1)
    assert [s.text for s in found.nbest] == ["tea"]


@pytest.mark.parametrize(
    ("source", "score"), [("class", 1.5), ("span", -0.25 + 2.0), ("both", 1.5 - 0.25 + 2.0)]
)
def test_when_there_is_no_answer(source, score):
    one = item()
    table = table_of([(0, 0, 1, -2.0)], (1.5, -0.25))
    for threshold, answer in ((score, CONTEXT[:1]), (score - 0.01, "")):
        calibration = Calibration(source, threshold, offset=score, temperature=2.0)
        (found,) = decode([one], table, calibration=calibration)
        assert found.answer == answer
        assert found.no_answer_score == pytest.approx(score)
        assert found.no_answer_probability == pytest.approx(0.5)
        assert [s.text for s in found.nbest] == [CONTEXT[:1]]


def test_no_span_at_all_is_no_answer():
    one = item()
    w = len(one.windows)
    flat = [x[:w] for x in outputs(w, 0)]
    flat[1][:] = 0  # CLS alone
    table = spans_of(one.windows, beams_of_head(*flat), [one.offsets] * w, [0] * w)
    (found,) = decode([one], table)
    assert (found.answer, found.nbest, found.no_answer_score) == ("", (), math.inf)
    assert found.no_answer_probability == 1.0


def test_padding_in_front_is_counted():
    one = item(room=26)
    flat = outputs(1, 2, length=29)
    plain = spans_of(one.windows, beams_of_head(*flat), [one.offsets], [0])
    moved = [flat[0], flat[1] + 5, flat[2], flat[3] + 5, *flat[4:]]
    shifted = spans_of(one.windows, beams_of_head(*moved), [one.offsets], [0], shifts=np.array([5]))
    np.testing.assert_array_equal(plain.start, shifted.start)
    np.testing.assert_array_equal(plain.end, shifted.end)


def test_shapes_that_cannot_be_paired():
    with pytest.raises(ValueError, match=r"Received \(1, 5\) and \(1, 2\)"):
        beams_of_head(
            np.zeros((1, 2)), np.zeros((1, 2), int), np.zeros((1, 5)), np.zeros((1, 5), int),
            np.zeros(1),
        )  # fmt: skip
