"""Reading: what is accepted, and how what is not is named and counted."""

from __future__ import annotations

import json

import pytest

from headsmith.errors import DataError
from headsmith.qa.squad_data import Answer, Problems, Question, read_lines, read_squad

GOOD = {
    "id": "good",
    "question": "Who sleeps?",
    "context": "The cat sleeps.",
    "answers": [{"text": "The cat", "answer_start": 0}],
}


def read(*records, labels=True):
    problems = Problems()
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    return list(read_lines(lines, labels=labels, problems=problems)), problems


def test_a_squad_file(squad_file):
    questions = list(read_squad(squad_file))
    assert len(questions) == 16
    assert [q.id for q in questions[:2]] == ["v0-0", "v0-1"]
    for q in questions:
        assert q.is_impossible == (not q.answers)
        assert all(q.context[a.start : a.start + len(a.text)] == a.text for a in q.answers)


@pytest.mark.parametrize("name", ["a.jsonl", "b.json", "c.txt"])
def test_lines_are_known_by_their_look(tmp_path, squad_file, name):
    from dataclasses import asdict

    path = tmp_path / name
    questions = list(read_squad(squad_file))
    lines = []
    for q in questions:
        record = asdict(q)
        record["answers"] = {
            "text": [a.text for a in q.answers],
            "answer_start": [a.start for a in q.answers],
        }
        lines.append(json.dumps(record))
    path.write_text("\ufeff" + "\n\n".join(lines), encoding="utf-8")
    assert list(read_squad(path)) == questions


@pytest.mark.parametrize("name", ["a.jsonl", "b.json"])
def test_a_line_ends_at_a_newline_alone(tmp_path, name):
    contexts = [f"The cat{end}sleeps." for end in "\u2028\u2029\x85 "]
    lines = [
        json.dumps(GOOD | {"id": str(i), "context": c}, ensure_ascii=False)
        for i, c in enumerate(contexts)
    ]
    path = tmp_path / name
    path.write_text("\n".join(lines), encoding="utf-8")
    assert [q.context for q in read_squad(path)] == contexts


def test_ids_of_a_stream_that_comes_in_parts():
    problems, seen = Problems(), set()
    for number in (1, 2):
        found = list(read_lines([json.dumps(GOOD)], problems=problems, first=number, seen=seen))
        assert len(found) == (number == 1)
    assert problems.counts == {"id used twice": 1}


def test_an_answer_that_is_lost_beside_one_that_is_found():
    answers = [*GOOD["answers"], {"text": "A dog", "answer_start": 3}]
    (question,), problems = read(GOOD | {"answers": answers})
    assert [a.text for a in question.answers] == ["The cat"]
    assert (problems.total, problems.lost) == (0, 1)


def test_an_id_that_no_file_can_hold():
    found, problems = read({**GOOD, "id": "\ud800"}, GOOD)
    assert [q.id for q in found] == ["good"]
    assert [(r.id, r.kind) for r in problems.records] == [("line 1", "not Unicode")]


def test_a_list_of_records_and_a_single_one(tmp_path):
    path = tmp_path / "list.json"
    for document in ([GOOD], GOOD):
        path.write_text(json.dumps(document), encoding="utf-8")
        assert list(read_squad(path)) == [
            Question("good", "Who sleeps?", "The cat sleeps.", (Answer("The cat", 0),), False)
        ]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"question": None}, "no question"),
        ({"question": "  "}, "empty question"),
        ({"context": ""}, "empty context"),
        ({"context": 7}, "no context"),
        ({"context": "a \ud800 b"}, "not Unicode"),
        ({"answers": None}, "malformed answers"),
        ({"answers": [{"text": 3}]}, "malformed answers"),
        ({"answers": {"text": ["a"], "answer_start": []}}, "malformed answers"),
        ({"answers": [{"text": "A dog", "answer_start": 0}]}, "answer not in context"),
        ({"answers": [{"text": "", "answer_start": 0}]}, "answer not in context"),
        ({"answers": [], "is_impossible": False}, "no answers"),
        ({"is_impossible": "no"}, "bad is_impossible"),
    ],
)
def test_bad_records_are_named_counted_and_skipped(change, kind):
    found, problems = read(GOOD, {**GOOD, "id": "bad", **change})
    assert [q.id for q in found] == ["good"]
    assert dict(problems.counts) == {kind: 1}
    assert problems.records[0].id == "bad"
    with pytest.raises(DataError, match="Question bad: "):
        list(read_lines([json.dumps({**GOOD, "id": "bad", **change})]))


def test_bad_lines_are_named_by_their_place():
    missing = {k: v for k, v in GOOD.items() if k != "answers"}
    found, problems = read("{oops", "[1]", GOOD, GOOD, {**missing, "id": "m"})
    assert len(found) == 1
    assert [(r.id, r.kind) for r in problems.records] == [
        ("line 1", "not JSON"),
        ("line 2", "not a record"),
        ("good", "id used twice"),
        ("m", "no answers"),
    ]
    assert problems.total == 4


def test_deep_nesting_is_not_json():
    _, problems = read('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert problems.total == 1


def test_without_labels_answers_do_not_matter():
    missing = {k: v for k, v in GOOD.items() if k != "answers"}
    found, problems = read(missing, {**GOOD, "id": 2, "answers": "?"}, labels=False)
    assert [q.id for q in found] == ["good", "2"]
    assert not problems.total


def test_no_answer_in_every_way_of_saying_it():
    found, problems = read(
        {**GOOD, "id": "a", "answers": []},
        {**GOOD, "id": "b", "answers": [], "is_impossible": True},
        {**GOOD, "id": "c", "is_impossible": True},
    )
    assert [(q.is_impossible, q.answers) for q in found] == [(True, ())] * 3
    assert not problems.total


def test_a_wrong_offset_is_mended_to_the_nearest_place():
    context = "one two one two one"
    record = {**GOOD, "context": context, "answers": [{"text": "one", "answer_start": 6}]}
    (found,), problems = read(record)
    assert found.answers == (Answer("one", 8),)
    assert problems.moved == 1
    for start, expected in ((-5, 0), (400, 16), (None, 0)):
        record["answers"] = [{"text": "one", "answer_start": start}]
        assert read(record)[0][0].answers == (Answer("one", expected),)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(read_squad(tmp_path / "missing.json"))
    path = tmp_path / "x.json"
    for text, message in (
        ("not json at all", "not valid JSON"),
        ('{"data": 3}', "no SQuAD file"),
        ("3", "no SQuAD file"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            list(read_squad(path))
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_squad(path))


def test_holes_in_a_squad_file_are_named(tmp_path):
    path = tmp_path / "holes.json"
    document = {
        "data": [
            None,
            {"paragraphs": [{"context": "x"}, {"qas": [None, {k: GOOD[k] for k in ("id",)}]}]},
        ]
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    problems = Problems()
    assert list(read_squad(path, problems=problems)) == []
    assert [r.id for r in problems.records] == [
        "article 1",
        "article 2, paragraph 1",
        "article 2, paragraph 2, question 1",
        "good",
    ]


def test_many_problems_are_counted_and_a_hundred_told():
    _, problems = read(*["?"] * 250)
    assert problems.counts["not JSON"] == 250
    assert len(problems.records) == 100
