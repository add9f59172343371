import inspect

import pytest

import headsmith.torch


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("Conv1D", "(nf, nx, *, device, dtype)"),
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
    parameters = inspect.signature(getattr(headsmith.torch, name)).parameters.values()

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


def test_every_public_name_is_there_and_documented():
    for name in headsmith.torch.__all__:
        assert "Example:" in inspect.getdoc(getattr(headsmith.torch, name))
