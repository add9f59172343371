import inspect
from operator import attrgetter

import pytest

from headsmith import keras as wing


def plain(thing):
    """Give a signature without annotations; what headsmith adds is keyword-only."""
    parameters = [
        p.replace(annotation=p.empty)
        if p.kind != p.KEYWORD_ONLY
        else p.replace(annotation=p.empty, default=p.empty)
        for p in inspect.signature(thing).parameters.values()
    ]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("TFConv1D", "(nf, nx, initializer_range=0.02, **kwargs)"),
        ("TFSequenceSummary", "(config, initializer_range=0.02, *, summary_type, **kwargs)"),
        (
            "TFSequenceSummary.call",
            "(self, inputs, cls_index=None, training=False, *, attention_mask)",
        ),
        (
            "SQuADHead",
            "(config, *, answer_start, log_probs, chunk_size, initializer_range, **kwargs)",
        ),
    ],
)
def test_signatures_are_those_of_4_34(name, signature):
    assert plain(attrgetter(name)(wing)) == signature


@pytest.mark.parametrize(
    "name", ["PoolerAnswerClass", "PoolerEndLogits", "PoolerStartLogits", "SQuADHead"]
)
def test_the_heads_are_called_as_those_of_the_pytorch_wing(name):
    theirs = pytest.importorskip("headsmith.torch")
    assert plain(getattr(wing, name).call) == plain(getattr(theirs, name).forward)


def test_the_names_are_sorted():
    assert wing.__all__ == sorted(wing.__all__)


@pytest.mark.parametrize("name", wing.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert "Example:" in inspect.getdoc(getattr(wing, name))


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'bogus'"):
        wing.bogus  # noqa: B018
