"""Captured graphs, function transforms, and wrappers that spread a module."""

import pytest
import torch
from torch import nn

from headsmith.spec.configs import SquadHeadConfig
from headsmith.torch.squad import SQuADHead
from headsmith.torch.squad_output import SquadHeadOutput

CONFIG = SquadHeadConfig(hidden_size=8, start_n_top=3, end_n_top=2)


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = SQuADHead(CONFIG)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


def inputs(batch=2, length=7):
    rng = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, 8, generator=rng)
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[:, -2:] = True
    label = {
        "start_positions": torch.arange(batch) % (length - 2),
        "end_positions": torch.full((batch,), 2),
        "cls_index": torch.zeros(batch, dtype=torch.long),
        "is_impossible": torch.arange(batch) % 2,
    }
    return x, mask, label


CALLS = {
    "predict": lambda x, mask, label: {},
    "predict masked": lambda x, mask, label: {"p_mask": mask, "cls_index": label["cls_index"]},
    "train": lambda x, mask, label: label,
    "train masked": lambda x, mask, label: label | {"p_mask": mask},
    "both": lambda x, mask, label: label | {"p_mask": mask, "return_predictions": True},
    "no labels of the class": lambda x, mask, label: {
        name: label[name] for name in ("start_positions", "end_positions", "cls_index")
    },
}


@pytest.mark.filterwarnings("ignore:SQuADHead got:UserWarning")
@pytest.mark.parametrize(
    ("call", "return_dict", "grad", "backend"),
    [
        ("predict", True, True, "eager"),
        ("predict", False, False, "eager"),
        ("predict masked", True, False, "eager"),
        ("train", False, True, "eager"),
        ("train masked", True, True, "aot_eager"),
        ("both", True, True, "eager"),
        ("no labels of the class", False, True, "eager"),
    ],
)
def test_one_graph(head, call, return_dict, grad, backend):
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, backend=backend)
    for length in (7, 9):  # the second time the length is dynamic
        x, mask, label = inputs(length=length)
        kwargs = CALLS[call](x, mask, label) | {"return_dict": return_dict}
        with torch.set_grad_enabled(grad):
            expected, got = head(x, **kwargs), compiled(x, **kwargs)
        if return_dict:
            assert isinstance(got, SquadHeadOutput)
            assert list(got) == list(expected)
            expected, got = expected.to_tuple(), got.to_tuple()
        torch.testing.assert_close(got, expected)
        if grad:
            total = [sum(v.sum() for v in out if v.requires_grad) for out in (got, expected)]
            found = [torch.autograd.grad(t, head.parameters(), allow_unused=True) for t in total]
            torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("call", "strict"),
    [("predict", False), ("predict masked", True), ("train masked", False)],
)
def test_export(head, call, strict):
    x, mask, label = inputs()
    kwargs = CALLS[call](x, mask, label) | {"return_dict": True}
    batch, length = torch.export.Dim("batch", min=2), torch.export.Dim("length", min=4)
    dims = {"hidden_states": {0: batch, 1: length}, "p_mask": {0: batch, 1: length}}
    shapes = {
        name: dims.get(name, {0: batch})
        for name in ("hidden_states", *kwargs)
        if name != "return_dict"
    } | {"return_dict": None}
    program = torch.export.export(head, (x,), kwargs, dynamic_shapes=shapes, strict=strict)
    x, mask, label = inputs(3, 11)
    kwargs = CALLS[call](x, mask, label) | {"return_dict": True}
    got = program.module()(x, **kwargs)
    assert isinstance(got, SquadHeadOutput)
    torch.testing.assert_close(got.to_tuple(), head(x, **kwargs).to_tuple())


def test_function_transforms(head):
    x, mask, label = inputs(4)
    parameters = dict(head.named_parameters())

    def loss(parameters, x, mask, label):
        one = {name: value.unsqueeze(0) for name, value in label.items()}
        return torch.func.functional_call(
            head, parameters, (x.unsqueeze(0),), one | {"p_mask": mask.unsqueeze(0)}
        )[0]

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(
        parameters, x, mask, label
    )
    (whole,) = head(x, **label, p_mask=mask)
    for name, gradient in zip(
        parameters, torch.autograd.grad(whole, list(parameters.values())), strict=True
    ):
        torch.testing.assert_close(each[name].mean(0), gradient)


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def gradients_of(module, head, x, kwargs):
    head.zero_grad()
    out = module(x, **kwargs, return_dict=True)
    assert isinstance(out, SquadHeadOutput)
    out.loss.backward()
    found = {}
    for name, p in head.named_parameters():
        gradient = p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
        found[name] = gradient.clone()
    return out.loss.detach(), found


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("static_graph", [True, False])
def test_distributed_data_parallel(head, static_graph):
    x, mask, label = inputs()
    kwargs = label | {"p_mask": mask}
    expected = gradients_of(head, head, x, kwargs)
    wrapped = nn.parallel.DistributedDataParallel(head, static_graph=static_graph)
    for _ in range(2):
        torch.testing.assert_close(gradients_of(wrapped, head, x, kwargs), expected)


# FSDP2 warns of any output that is a view; those of 4.34 are views, too.
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")
@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("inner", [True, False])
def test_fully_sharded(head, inner):
    """FSDP2 gathers a part's parameters in a hook before its forward: the parts are called."""
    x, mask, label = inputs()
    kwargs = label | {"p_mask": mask}
    expected = gradients_of(head, head, x, kwargs)
    predicted = head(x, p_mask=mask)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    if inner:
        for part in (head.start_logits, head.end_logits, head.answer_class):
            torch.distributed.fsdp.fully_shard(part, mesh=mesh)
    torch.distributed.fsdp.fully_shard(head, mesh=mesh)
    torch.testing.assert_close(gradients_of(head, head, x, kwargs), expected)
    torch.testing.assert_close(head(x, p_mask=mask), predicted)
