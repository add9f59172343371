"""Device maps, backbone stages and stand-ins."""

from __future__ import annotations

import pytest
import torch

from headsmith.compat import shims
from headsmith.compat.backbones import get_aligned_output_features_output_indices as aligned
from headsmith.compat.device_map import assert_device_map, get_device_map
from headsmith.compat.onnx_config import OnnxConfigWithPast, compute_effective_axis_dimension
from headsmith.errors import HeadsmithError


@pytest.mark.parametrize(
    ("layers", "devices", "expected"),
    [
        (4, 2, {0: [0, 1], 1: [2, 3]}),
        (5, 3, {0: [0, 1], 1: [2, 3], 2: [4]}),
        (2, 3, {0: [0], 1: [1]}),
        (6, 4, {0: [0, 1], 1: [2, 3], 2: [4, 5]}),  # as 4.34: the last device has none
        (0, 2, {}),
    ],
)
def test_layers_are_spread(layers: int, devices: int, expected: dict[int, list[int]]) -> None:
    assert get_device_map(layers, range(devices)) == expected
    assert_device_map(expected, layers)


def test_no_devices() -> None:
    with pytest.raises(ValueError, match="at least one device"):
        get_device_map(2, [])


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ({0: [0, 1], 1: [1]}, "more than one device: \\[1\\]"),
        ({0: [0]}, "no device: \\[1\\]"),
        ({0: [0, 1, 2]}, "not in this model: \\[2\\]"),
    ],
)
def test_wrong_maps(device_map: dict[int, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assert_device_map(device_map, 2)


def test_stages() -> None:
    stages = ["stem", "one", "two"]
    assert aligned(None, None, stages) == (["two"], [2])
    assert aligned(["one", "two"], None, stages) == (["one", "two"], [1, 2])
    assert aligned(None, [0, -1], stages) == (["stem", "two"], [0, -1])
    assert aligned(["stem"], [0], stages) == (["stem"], [0])


@pytest.mark.parametrize(
    ("features", "indices"),
    [(["no"], None), (None, [3]), (["two", "one"], None), (None, [1, 1]), (["one"], [2])],
)
def test_wrong_stages(features: list[str] | None, indices: list[int] | None) -> None:
    with pytest.raises(ValueError, match="Expected"):
        aligned(features, indices, ["stem", "one", "two"])


def test_onnx_classes_can_be_inherited_from_and_not_made() -> None:
    class Old(OnnxConfigWithPast):
        pass

    with pytest.raises(HeadsmithError, match=r"Old belonged to transformers\.onnx"):
        Old(None)
    with pytest.raises(HeadsmithError):
        compute_effective_axis_dimension(-1)


def test_stand_ins() -> None:
    assert not shims.is_tf_available()
    assert not shims.is_flax_available()
    assert shims.is_torch_fx_available()
    assert shims.is_safetensors_available()
    assert isinstance(shims.TRANSFORMERS_CACHE, str)
    with pytest.raises(AttributeError):
        shims.nothing  # noqa: B018
    layer = torch.nn.Linear(2, 2, dtype=torch.float64)
    assert shims.get_parameter_dtype(layer) is torch.float64
    assert shims.get_parameter_device(layer).type == "cpu"
    with pytest.raises(ValueError, match="parameters"):
        shims.get_parameter_dtype(torch.nn.ReLU())


@pytest.mark.needs_v5("the stand-in calls its transformers.initialization")
def test_no_weights_are_initialised() -> None:
    before = torch.nn.init.zeros_
    with shims.no_init_weights(_enable=False):
        assert torch.nn.init.zeros_ is before
    with shims.no_init_weights():
        assert torch.nn.init.zeros_ is not before
    assert torch.nn.init.zeros_ is before
