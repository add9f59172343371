"""Options that several commands share."""

from __future__ import annotations

import typing

from headsmith.cli import loading
from headsmith.cli.options import MATCHES, SCORES


def test_scores_are_those_of_the_engine() -> None:
    from headsmith.pruning.score import SCORES as ENGINE

    assert tuple(ENGINE) == SCORES


def test_matches_are_those_of_the_loader() -> None:
    assert typing.get_args(loading.Match) == MATCHES
