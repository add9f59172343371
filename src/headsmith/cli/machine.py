"""Facts about this machine and what is installed, without importing what need not be."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["cores", "machine", "processor", "versions"]

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "onnxruntime",
    "libcst",
    "numpy",
    "jinja2",
    "click",
    "rich",
)


def versions() -> dict[str, str]:
    """Package → version of what is installed, read from its metadata alone; Python first.

    Example:
        >>> from headsmith.cli.machine import versions
        >>> list(versions())[0]
        'python'
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """What a measured time depends on: `device`, `processor`, `cores`, `threads`, `system`.

    Args:
        device: where the model runs; None leaves out what only torch can tell.
    """
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device is not None:
        import torch

        name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
        found = {"device": name or str(device), **found, "threads": torch.get_num_threads()}
    return found


def cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def processor() -> str:
    """The processor's name as its maker writes it, or its architecture."""
    try:
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    except (OSError, UnicodeDecodeError):
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()
