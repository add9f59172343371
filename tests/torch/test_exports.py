import inspect
from operator import attrgetter

import pytest

import headsmith.torch


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("Conv1D", "(nf, nx, *, device, dtype)"),
        ("PoolerAnswerClass", "(config)"),
        (
            "PoolerAnswerClass.forward",
            "(self, hidden_states, start_states=None, start_positions=None, cls_index=None, *,"
            " attention_mask)",
        ),
        ("PoolerEndLogits", "(config, *, chunk_size)"),
        (
            "PoolerEndLogits.forward",
            "(self, hidden_states, start_states=None, start_positions=None, p_mask=None)",
        ),
        ("PoolerStartLogits", "(config)"),
        ("PoolerStartLogits.forward", "(self, hidden_states, p_mask=None)"),
        ("SQuADHead", "(config, *, answer_start, log_probs, chunk_size)"),
        (
            "SQuADHead.forward",
            "(self, hidden_states, start_positions=None, end_positions=None, cls_index=None,"
            " is_impossible=None, p_mask=None, return_dict=False, *, attention_mask,"
            " return_predictions)",
        ),
        ("SequenceSummary", "(config)"),
        ("SequenceSummary.forward", "(self, hidden_states, cls_index=None, *, attention_mask)"),
        (
            "SquadHeadOutput",
            "(loss=None, start_top_log_probs=None, start_top_index=None,"
            " end_top_log_probs=None, end_top_index=None, cls_logits=None)",
        ),
        ("apply_chunking_to_forward", "(forward_fn, chunk_size, chunk_dim, *input_tensors)"),
        (
            "find_pruneable_heads_and_indices",
            "(heads, n_heads, head_size, already_pruned_heads)",
        ),
        ("prune_conv1d_layer", "(layer, index, dim=1)"),
        ("prune_layer", "(layer, index, dim=None)"),
        ("prune_linear_layer", "(layer, index, dim=0)"),
    ],
)
def test_signatures_are_those_of_4_34(name, signature):
    parameters = inspect.signature(attrgetter(name)(headsmith.torch)).parameters.values()

    plain = inspect.Signature(
        [
            # What headsmith adds is keyword-only; its defaults are its own affair.
            p.replace(annotation=p.empty)
            if p.kind != p.KEYWORD_ONLY
            else p.replace(annotation=p.empty, default=p.empty)
            for p in parameters
        ]
    )
    assert str(plain) == signature


def test_the_names_are_sorted():
    assert headsmith.torch.__all__ == sorted(headsmith.torch.__all__)


def test_every_public_name_is_there_and_documented():
    for name in headsmith.torch.__all__:
        assert "Example:" in inspect.getdoc(getattr(headsmith.torch, name))
