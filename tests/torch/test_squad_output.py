"""SquadHeadOutput behaves as the ModelOutput of 4.34 does."""

import copy
import pickle

import pytest
import torch
from torch.utils import _pytree as pytree

from headsmith.torch.squad_output import SquadHeadOutput

LOSS, PROBS, INDEX = torch.tensor(1.0), torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.long)


@pytest.fixture
def output():
    return SquadHeadOutput(start_top_log_probs=PROBS, start_top_index=INDEX)


def test_by_attribute_key_index_and_slice(output):
    assert output.start_top_log_probs is PROBS
    assert output["start_top_log_probs"] is PROBS
    assert output[0] is PROBS
    assert output[-1] is INDEX
    assert output[:2] == (PROBS, INDEX)
    assert output[1:] == (INDEX,)


def test_nones_are_left_out(output):
    assert output.loss is None
    assert list(output) == list(output.keys()) == ["start_top_log_probs", "start_top_index"]
    assert output.to_tuple() == (PROBS, INDEX)
    assert len(output) == 2
    assert "loss" not in output
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(IndexError):
        output[2]
    assert len(SquadHeadOutput()) == 0


def test_unpacking_gives_keys_as_any_dict_does(output):
    first, second = output
    assert (first, second) == ("start_top_log_probs", "start_top_index")
    assert dict(**output) == {"start_top_log_probs": PROBS, "start_top_index": INDEX}
    assert isinstance(output, dict)


def test_assignment_keeps_attribute_and_key_together(output):
    output.loss = LOSS
    assert output["loss"] is LOSS
    output["cls_logits"] = PROBS
    assert output.cls_logits is PROBS
    output.loss = None  # as in 4.34, the key stays
    assert output["loss"] is LOSS


def test_nothing_can_be_taken_out(output):
    with pytest.raises(TypeError, match="keeps its fields: `del`"):
        del output["start_top_index"]
    for refused in (
        lambda: output.pop("loss"),
        lambda: output.update(loss=LOSS),
        lambda: output.setdefault("loss", LOSS),
    ):
        with pytest.raises(TypeError, match="keeps its fields: no"):
            refused()


def test_from_pairs_as_data_parallel_gathers():
    """`DataParallel` builds type(out)((key, gathered) for key in out)."""
    gathered = SquadHeadOutput(
        (key, value) for key, value in [("loss", LOSS), ("cls_logits", PROBS)]
    )
    assert gathered.loss is LOSS
    assert gathered.to_tuple() == (LOSS, PROBS)
    assert SquadHeadOutput({"cls_logits": PROBS}).to_tuple() == (PROBS,)
    assert SquadHeadOutput({"cls_logits": PROBS}).loss is None
    with pytest.raises(ValueError, match="Received: 'no_such_field'"):
        SquadHeadOutput({"no_such_field": PROBS})


def test_a_pytree(output):
    leaves, spec = pytree.tree_flatten(output)
    assert leaves == [PROBS, INDEX]
    again = pytree.tree_unflatten(leaves, spec)
    assert isinstance(again, SquadHeadOutput)
    assert list(again) == list(output)
    doubled = pytree.tree_map(lambda x: x * 2, output)
    assert torch.equal(doubled.start_top_log_probs, PROBS * 2)
    paths = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(output)[0]]
    assert paths == ["['start_top_log_probs']", "['start_top_index']"]
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec


def test_copies_and_pickles(output):
    for again in (copy.copy(output), copy.deepcopy(output), pickle.loads(pickle.dumps(output))):  # noqa: S301 (our own)
        assert type(again) is SquadHeadOutput
        assert list(again) == list(output)
        assert torch.equal(again.start_top_index, INDEX)
        assert again.loss is None
