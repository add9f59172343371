"""Windows made in several processes, in order, a few batches ahead and no more."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING

from headsmith.qa.squad_data import Problems, Question

if TYPE_CHECKING:
    from headsmith.qa.features import Featurized, Featurizer

__all__ = ["mapped"]

_featurizer: Featurizer | None = None


def mapped(
    featurizer: Featurizer,
    batches: Iterable[list[Question]],
    workers: int,
    problems: Problems | None = None,
) -> Iterator[Featurized]:
    """Make the windows of batches of questions in `workers` processes.

    Args:
        featurizer: sent to each process once.
        batches: of questions.
        workers: processes, at least 1.
        problems: collects questions that cannot be used; None refuses them.

    Raises:
        DataError: a question is refused.
    """
    problems = Problems(refuse=True) if problems is None else problems
    # A fork of a process whose tokenizer or torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[tuple[list[Featurized], Problems]]] = deque()
    with ProcessPoolExecutor(workers, context, _begin, (featurizer,)) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(_work, batch))
                if len(waiting) > 2 * workers:
                    yield from _taken(waiting.popleft(), problems)
            while waiting:
                yield from _taken(waiting.popleft(), problems)
        finally:
            for future in waiting:
                future.cancel()


def _taken(
    future: Future[tuple[list[Featurized], Problems]], problems: Problems
) -> list[Featurized]:
    found, skipped = future.result()
    problems.take(skipped)
    return found


def _begin(featurizer: Featurizer) -> None:
    global _featurizer
    _featurizer = featurizer


def _work(batch: list[Question]) -> tuple[list[Featurized], Problems]:
    assert _featurizer is not None  # noqa: S101 - _begin has run in this process
    problems = Problems()
    return _featurizer(batch, problems), problems
