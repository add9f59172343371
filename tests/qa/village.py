"""A small SQuAD-format document: original sentences, questions with and without answers."""

from __future__ import annotations

from typing import Any

_PARAGRAPHS = [
    (
        "The old mill stands beside the river Aller. It was built in 1783 by a miller named Jon "
        "Petersen, and it ground corn for three villages. In 1901 a storm broke its wheel, and a "
        "steam engine was bought in Bremen to take the wheel's place.",
        [
            ("Which river does the mill stand beside?", "Aller"),
            ("When was the mill built?", "1783"),
            ("Who built the mill?", "Jon Petersen"),
            ("What broke the wheel in 1901?", "a storm"),
            ("Where was the steam engine bought?", "Bremen"),
            ("Who painted the mill?", None),
        ],
    ),
    (
        "Every Thursday the market opens at six o'clock. Farmers sell apples, cheese and bread; "
        "fishermen sell herring from the harbour. The oldest stall belongs to Mrs. Okafor, who "
        "has sold honey there for forty-one years.",
        [
            ("When does the market open?", "six o'clock"),
            ("What do fishermen sell?", "herring"),
            ("Who owns the oldest stall?", "Mrs. Okafor"),
            ("How long has she sold honey?", "forty-one years"),
            ("What does the baker charge for bread?", None),
        ],
    ),
    (
        "The lighthouse of Sandvik is twenty-six metres high. Its lamp can be seen from eighteen "
        "miles away on a clear night. A café called Zur Möwe has served tea in the keeper's "
        "house since 1996.",
        [
            ("How high is the lighthouse?", "twenty-six metres"),
            ("From how far can the lamp be seen?", "eighteen miles"),
            ("What is the café called?", "Zur Möwe"),
            ("Since when has tea been served?", "since 1996"),
            ("Who keeps the lamp burning?", None),
        ],
    ),
]


def document() -> dict[str, Any]:
    """The whole as SQuAD v2.0 JSON."""
    paragraphs = []
    for p, (context, asked) in enumerate(_PARAGRAPHS):
        qas = []
        for q, (question, answer) in enumerate(asked):
            answers = [] if answer is None else [_placed(answer, context)]
            record = {"id": f"v{p}-{q}", "question": question, "answers": answers}
            qas.append({**record, "is_impossible": answer is None})
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "A village", "paragraphs": paragraphs}]}


def texts() -> list[str]:
    """All contexts and questions."""
    return [t for context, asked in _PARAGRAPHS for t in (context, *(q for q, _ in asked))]


def _placed(answer: str, context: str) -> dict[str, Any]:
    assert answer in context
    return {"text": answer, "answer_start": context.index(answer)}
