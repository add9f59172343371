"""Layers spread over devices by hand, as the model-parallel code of Transformers 4 did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = ["assert_device_map", "get_device_map"]

_Device = TypeVar("_Device")


def get_device_map(n_layers: int, devices: Iterable[_Device]) -> dict[_Device, list[int]]:
    """Spread layers over devices in runs of one length, the last run shorter.

    As in Transformers 4.34, `transformers.utils.model_parallel_utils`: devices for which no
    layer is left are not in the answer.

    Args:
        n_layers: how many layers there are, at least 0.
        devices: the devices in order, such as `range(4)`; at least one.

    Returns:
        Device → its layers, ascending from 0.

    Raises:
        ValueError: there is no device (4.34 divided by zero).

    Example:
        >>> from headsmith.compat.device_map import get_device_map
        >>> get_device_map(5, range(2))
        {0: [0, 1, 2], 1: [3, 4]}
    """
    devices = list(devices)
    if not devices:
        raise ValueError("Expected at least one device to spread layers over. Received none.")
    run = -(-n_layers // len(devices))
    return {
        device: list(range(place * run, min((place + 1) * run, n_layers)))
        for place, device in enumerate(devices)
        if place * run < n_layers
    }


def assert_device_map(device_map: Mapping[object, Sequence[int]], num_blocks: int) -> None:
    """Check that a map gives every block to one device.

    Args:
        device_map: device → its blocks.
        num_blocks: how many blocks the model has.

    Raises:
        ValueError: a block is on two devices, on none, or does not exist.

    Example:
        >>> from headsmith.compat.device_map import assert_device_map
        >>> assert_device_map({"cuda:0": [0, 1], "cuda:1": [2]}, 3)
    """
    times = Counter(block for blocks in device_map.values() for block in blocks)
    expected = set(range(num_blocks))
    faults = {
        "on more than one device": sorted(block for block, count in times.items() if count > 1),
        "on no device": sorted(expected - set(times)),
        "not in this model": sorted(set(times) - expected),
    }
    for fault, blocks in faults.items():
        if blocks:
            raise ValueError(
                f"Expected a device map that gives each of {num_blocks} blocks to one device. "
                f"Received attention blocks {fault}: {blocks}."
            )
