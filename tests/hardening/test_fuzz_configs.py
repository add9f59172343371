"""Config objects with anything in their fields: heads are built, or say which field is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hardening.spoil import SCALARS
from hypothesis import given, settings
from hypothesis import strategies as st

from headsmith.torch import SequenceSummary, SQuADHead

SUMMARY: dict[str, Any] = {
    "hidden_size": 8,
    "summary_type": "mean",
    "summary_use_proj": True,
    "summary_proj_to_labels": True,
    "num_labels": 3,
    "summary_activation": "tanh",
    "summary_first_dropout": 0.1,
    "summary_last_dropout": 0.1,
    "summary_num_heads": 2,
}
SQUAD: dict[str, Any] = {
    "hidden_size": 8,
    "layer_norm_eps": 1e-12,
    "start_n_top": 3,
    "end_n_top": 2,
}
# Sizes that are right but would take all memory are not what is asked here.
VALUES = SCALARS.filter(lambda v: not (isinstance(v, (int, float)) and abs(v) > 10**4))


def _fields(right: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(
        st.sampled_from(sorted(right)), st.just(_Gone) | VALUES, min_size=1, max_size=3
    ).map(lambda wrong: {k: v for k, v in {**right, **wrong}.items() if v is not _Gone})


class _Gone:
    """A field that is left out."""


def _built(build: Any, fields: dict[str, Any]) -> Any:
    """What `build` makes of a config, or None if it names a field that is wrong."""
    try:
        return build(SimpleNamespace(**fields))
    except (TypeError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        named = [name for name in (*SUMMARY, *SQUAD, "activation") if name in str(error)]
        assert named, f"{type(error).__name__}: {error}"
        return None


@settings(max_examples=200)
@given(_fields(SUMMARY))
def test_summaries(fields: dict[str, Any]) -> None:
    summary = _built(SequenceSummary, fields)
    if summary is not None and fields.get("summary_type") != "cls_index":
        width = fields.get("hidden_size")
        states = torch.ones(2, 5, width if fields.get("summary_use_proj") else 8)
        assert torch.isfinite(summary.eval()(states)).all()


@settings(max_examples=200)
@given(_fields(SQUAD))
def test_squad_heads(fields: dict[str, Any]) -> None:
    head = _built(SQuADHead, fields)
    if head is not None:
        found = head.eval()(torch.ones(2, 5, fields["hidden_size"]))
        assert all(torch.isfinite(part).all() for part in found)


@settings(max_examples=200)
@given(_fields(SUMMARY))
@pytest.mark.filterwarnings("ignore:.*summary_use_proj.*")
def test_summaries_on_keras(fields: dict[str, Any]) -> None:
    keras = pytest.importorskip("headsmith.keras")
    _built(keras.SequenceSummary, fields)


@settings(max_examples=100)
@given(_fields(SQUAD))
def test_squad_heads_on_keras(fields: dict[str, Any]) -> None:
    keras = pytest.importorskip("headsmith.keras")
    _built(keras.SQuADHead, fields)
