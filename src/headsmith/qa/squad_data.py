"""Questions out of SQuAD-format files: v1.1, v2.0, and JSON lines with the same fields.

```
.json    {"data": [{"title": …, "paragraphs": [{"context": …, "qas": [{"id": …,
          "question": …, "answers": [{"text": …, "answer_start": …}], "is_impossible": …}]}]}]}
.jsonl   {"id": …, "question": …, "context": …, "answers": …, "is_impossible": …}, one a line
```

In a line, `answers` may also be `{"text": [...], "answer_start": [...]}`, as datasets write it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headsmith.errors import DataError

__all__ = ["Answer", "BadRecord", "Problems", "Question", "read_lines", "read_squad"]

_KEPT = 100  # problems told one by one; all of them are counted


@dataclass(frozen=True, slots=True)
class Answer:
    """One right answer: `context[start : start + len(text)] == text`."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one context.

    Args:
        id: unique in its file.
        question: the question's text.
        context: the text that may hold the answer.
        answers: right answers; empty where there is none, or none is known.
        is_impossible: whether the context holds no answer; None where that is not known.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    is_impossible: bool | None = None


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used.

    Args:
        id: the question's id, or where it stands if it has none.
        kind: one of a few words to count by, such as `"answer not in context"`.
        message: what was expected and received.
    """

    id: str
    kind: str
    message: str


@dataclass
class Problems:
    """What was wrong with the records of a file: counted, and the first hundred told.

    Args:
        refuse: raise `DataError` at the first problem instead of skipping the record.

    Example:
        >>> from headsmith.qa.squad_data import Problems
        >>> problems = Problems()
        >>> problems.add("q7", "empty context", "the context is empty.")
        >>> problems.total, dict(problems.counts)
        (1, {'empty context': 1})
    """

    refuse: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    records: list[BadRecord] = field(default_factory=list)
    moved: int = 0
    """Answers whose `answer_start` was wrong and that were found elsewhere in the context."""
    lost: int = 0
    """Answers that are not in the context, of questions with others that are."""

    @property
    def total(self) -> int:
        """How many records were skipped."""
        return sum(self.counts.values())

    def add(self, id: str, kind: str, message: str) -> None:  # noqa: A002
        """Note a record that is skipped.

        Raises:
            DataError: problems are refused.
        """
        if self.refuse:
            raise DataError(f"Question {id}: {message}")
        self.counts[kind] += 1
        if len(self.records) < _KEPT:
            self.records.append(BadRecord(id, kind, message))

    def take(self, other: Problems) -> None:
        """Add what another reader noted.

        Raises:
            DataError: problems are refused here, and there are some.
        """
        for record in other.records:
            if self.refuse:
                raise DataError(f"Question {record.id}: {record.message}")
        self.counts.update(other.counts)
        self.records += other.records[: max(0, _KEPT - len(self.records))]
        self.moved += other.moved
        self.lost += other.lost


def read_squad(
    path: str | Path, *, labels: bool = True, problems: Problems | None = None
) -> Iterator[Question]:
    """Read the questions of a file, in its order.

    Args:
        path: a `.json` file in SQuAD's format, or JSON lines (`.jsonl`, or whatever does not
            hold one JSON document).
        labels: whether a question needs answers; without, wrong ones are left out in silence.
        problems: collects records that are skipped; None refuses the first bad one.

    Raises:
        DataError: the file is missing, unreadable or not JSON, or a record is refused.
    """
    path = Path(path)
    problems = Problems(refuse=True) if problems is None else problems
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist.")
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8-sig") as file:
                yield from read_lines(file, labels=labels, problems=problems)
            return
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not _looks_like_lines(text):
            raise DataError(
                f"{path} is not valid JSON: {error}. Expected a SQuAD file, or JSON lines."
            ) from error
        # Not splitlines(): a text may hold U+2028 and other ends of lines that JSON does not know.
        yield from read_lines(text.split("\n"), labels=labels, problems=problems)
        return
    yield from _questions(_records(document, path), labels, problems)


def read_lines(
    lines: Iterable[str],
    *,
    labels: bool = True,
    problems: Problems | None = None,
    first: int = 1,
    seen: set[str] | None = None,
) -> Iterator[Question]:
    """Read questions from JSON lines as they come, for files and streams.

    Args:
        lines: one JSON object each; empty lines are passed over. Without an `id` the number
            of the line is taken.
        labels: as in `read_squad`.
        problems: as in `read_squad`.
        first: number of the first line.
        seen: ids used before, which those of these lines join; None knows of none.

    Raises:
        DataError: a record is refused.

    Example:
        >>> from headsmith.qa.squad_data import read_lines
        >>> line = '{"id": "a", "question": "Who?", "context": "It was me."}'
        >>> [q.question for q in read_lines([line], labels=False)]
        ['Who?']
    """
    problems = Problems(refuse=True) if problems is None else problems
    yield from _questions(_parsed(lines, problems, first), labels, problems, seen)


def _looks_like_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except (ValueError, RecursionError):
        return False


def _parsed(lines: Iterable[str], problems: Problems, first: int) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            yield place, json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(place, "not JSON", f"expected a JSON object, which this is not: {error}.")


def _records(document: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Flat records with the place of each, from a SQuAD document or a list of records."""
    if isinstance(document, dict) and "question" in document:
        document = [document]
    if isinstance(document, list):
        for number, record in enumerate(document, start=1):
            yield f"record {number}", record
        return
    articles = document.get("data") if isinstance(document, dict) else None
    if not isinstance(articles, list):
        raise DataError(
            f'{path} is JSON, but no SQuAD file: expected {{"data": [...]}} with articles, or a '
            "list of records."
        )
    for a, article in enumerate(articles, start=1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield f"article {a}", None
            continue
        for p, paragraph in enumerate(paragraphs, start=1):
            place = f"article {a}, paragraph {p}"
            qas = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(qas, list):
                yield place, None
                continue
            context = paragraph.get("context")
            for q, record in enumerate(qas, start=1):
                there = f"{place}, question {q}"
                yield there, {**record, "context": context} if isinstance(record, dict) else None


def _questions(
    records: Iterable[tuple[str, Any]],
    labels: bool,
    problems: Problems,
    seen: set[str] | None = None,
) -> Iterator[Question]:
    seen = set() if seen is None else seen
    for place, record in records:
        if not isinstance(record, dict):
            problems.add(place, "not a record", "expected a JSON object with a question.")
            continue
        id_ = record.get("id")
        name = str(id_) if isinstance(id_, (str, int)) and str(id_) else place
        if not _is_text(name):
            problems.add(place, "not Unicode", "the id holds half a surrogate pair.")
            continue
        found = _question(name, record, labels, problems)
        if found is None:
            continue
        if name in seen:
            problems.add(name, "id used twice", "its id was used before; ids must be unique.")
            continue
        seen.add(name)
        yield found


def _question(
    name: str, record: dict[str, Any], labels: bool, problems: Problems
) -> Question | None:
    texts: dict[str, str] = {}
    for key in ("question", "context"):
        value = record.get(key)
        if not isinstance(value, str):
            problems.add(name, f"no {key}", f"expected a text as {key!r}. Received {value!r:.60}.")
            return None
        if not value.strip():
            problems.add(name, f"empty {key}", f"the {key} is empty.")
            return None
        if not _is_text(value):
            problems.add(name, "not Unicode", f"the {key} holds half a surrogate pair.")
            return None
        texts[key] = value
    asked, context = texts["question"], texts["context"]
    impossible = record.get("is_impossible")
    if impossible is not None and not isinstance(impossible, bool):
        problems.add(
            name, "bad is_impossible", f"is_impossible is true or false. Received {impossible!r}."
        )
        return None
    given = _answers(record.get("answers"))
    if given is None:
        if not labels:
            return Question(name, asked, context, (), impossible)
        if "answers" not in record:
            problems.add(name, "no answers", "it has no field 'answers'.")
        else:
            problems.add(
                name,
                "malformed answers",
                "expected answers as a list of {'text': …, 'answer_start': …}. Received "
                f"{record['answers']!r:.80}.",
            )
        return None
    if impossible:
        return Question(name, asked, context, (), True)
    if not given and labels and impossible is False:
        problems.add(name, "no answers", "is_impossible is false, but there is no answer.")
        return None
    placed = [_placed(text, start, context, problems) for text, start in given]
    answers = tuple(a for a in placed if a is not None)
    if given and not answers and labels:
        problems.add(
            name,
            "answer not in context",
            f"its answer {given[0][0]!r:.60} is not in the context.",
        )
        return None
    if labels:
        problems.lost += len(given) - len(answers)
    if not given and impossible is None and not labels:
        return Question(name, asked, context, (), None)
    return Question(name, asked, context, answers, not answers if labels else impossible)


def _answers(value: Any) -> list[tuple[str, int | None]] | None:
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list):
            return None
        starts = starts if isinstance(starts, list) else [None] * len(texts)
        if len(starts) != len(texts):
            return None
        value = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        return None
    found: list[tuple[str, int | None]] = []
    for answer in value:
        text = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not (start is None or isinstance(start, int)):
            return None
        found.append((text, start))
    return found


def _placed(text: str, start: int | None, context: str, problems: Problems) -> Answer | None:
    """The answer where it is said to be, or else at the nearest place that holds its text."""
    if not text.strip():
        return None
    if start is not None and start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    target = start or 0
    after = context.find(text, max(0, target))
    before = context.rfind(text, 0, max(0, target) + len(text))
    places = [p for p in (before, after) if p >= 0]
    if not places:
        return None
    problems.moved += start is not None
    return Answer(text, min(places, key=lambda p: abs(p - target)))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
