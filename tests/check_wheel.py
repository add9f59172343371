"""Build wheel and sdist, install the wheel into empty environments, and use it from outside.

    python tests/check_wheel.py

`make test-wheel` runs it with the project's environment, whose hatchling builds and whose mypy
reads a user's file. Takes a few minutes, most of them installation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints" / "cpu.txt"

BARE = """
import importlib.util, subprocess, sys
from pathlib import Path
import headsmith
assert Path(headsmith.__file__).is_relative_to(sys.prefix), headsmith.__file__
for absent in ("torch", "transformers", "keras", "libcst"):
    assert importlib.util.find_spec(absent) is None, absent
from headsmith.spec.plan import PrunePlan
from headsmith.errors import MissingExtraError
for wing, extra in (("torch", "torch"), ("pruning", "pruning"), ("keras", "keras")):
    try:
        importlib.import_module("headsmith." + wing)
    except MissingExtraError as error:
        assert f"headsmith[{extra}]" in str(error), error
    else:
        raise AssertionError(wing)
assert (Path(headsmith.__file__).parent / "py.typed").is_file()
"""

WHOLE = """
import sys
from pathlib import Path
import torch
from transformers import AutoModel, BertConfig, BertModel
import headsmith
assert Path(headsmith.__file__).is_relative_to(sys.prefix), headsmith.__file__
from headsmith.pruning import describe, load, prune_heads
from headsmith.torch import SQuADHead
torch.manual_seed(0)
model = BertModel(BertConfig(vocab_size=50, hidden_size=24, num_hidden_layers=2,
                             num_attention_heads=4, intermediate_size=32)).eval()
prune_heads(model, {0: [1], 1: [0, 3]})
ids = torch.tensor([[3, 4, 5]])
with torch.no_grad():
    expected = model(ids).last_hidden_state
    model.save_pretrained("pruned")
    for opened in (load("pruned"), AutoModel.from_pretrained("pruned")):
        assert torch.equal(opened.eval()(ids).last_hidden_state, expected)
from headsmith.compat import restored
with restored():
    from transformers.modeling_utils import SQuADHead as old
assert old is SQuADHead
"""

USER = """
import torch
from torch import Tensor, nn

from headsmith import PrunePlan
from headsmith.compat import restore
from headsmith.errors import HeadsmithError
from headsmith.pruning import describe, prune_heads
from headsmith.torch import Conv1D, SequenceSummary, apply_chunking_to_forward


def halve(model: nn.Module) -> int:
    try:
        prune_heads(model, {0: [0, 1]})
    except HeadsmithError:
        return 0
    return len(describe(model).blocks)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = Conv1D(2, 4)

    def forward(self, states: Tensor) -> Tensor:
        chunked: Tensor = apply_chunking_to_forward(self.project, 2, 1, states)
        return chunked


with restore():
    head = Head()
out: Tensor = head(torch.zeros(1, 2, 4))
plan: PrunePlan = PrunePlan.from_json("{}")
"""

WRONG = "from headsmith.pruning import prune_heads\nprune_heads(1, 'no')\n"

OLD = "from transformers.modeling_utils import PreTrainedModel, SQuADHead\n"


def main() -> None:
    """Build, install, use; stops at the first thing that is wrong."""
    with tempfile.TemporaryDirectory(prefix="headsmith-wheel-") as name:
        work = Path(name)
        wheel = _build(work)
        bare = _environment(work / "bare", str(wheel))
        _run([bare / "python", "-c", BARE], work)
        _run([bare / "headsmith", "--version"], work)
        _run([bare / "headsmith", "--help"], work)
        _run([bare / "headsmith", "doctor"], work)
        _say("works without torch, and says what is missing")
        whole = _environment(work / "whole", f"{wheel}[pruning,migrate]")
        _run([whole / "python", "-c", WHOLE], work)
        (work / "old.py").write_text(OLD, encoding="utf-8")
        _run([whole / "headsmith", "migrate", "old.py", "--write"], work)
        if "headsmith.torch import SQuADHead" not in (work / "old.py").read_text(encoding="utf-8"):
            raise SystemExit("headsmith migrate did not rewrite old.py")
        _run([whole / "headsmith", "inspect", "pruned"], work)
        _say("prunes, saves, loads and migrates outside of the checkout")
        _types(work, whole)
        _say("types: a user's file passes mypy --strict, a wrong call does not")


def _build(work: Path) -> Path:
    """Wheel and sdist, and a wheel of the sdist: both wheels must hold the same files."""
    dist = work / "dist"
    hatchling = [sys.executable, "-m", "hatchling", "build", "-d", dist]
    _run([*hatchling, "-t", "wheel", "-t", "sdist"], ROOT)
    (sdist,) = dist.glob("*.tar.gz")
    (wheel,) = dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "sdist", filter="data")
    (unpacked,) = (work / "sdist").iterdir()
    again = work / "again"
    _run([sys.executable, "-m", "hatchling", "build", "-d", again, "-t", "wheel"], unpacked)
    (second,) = again.glob("*.whl")
    names = [sorted(zipfile.ZipFile(path).namelist()) for path in (wheel, second)]
    if names[0] != names[1]:
        raise SystemExit(f"the sdist lacks {sorted(set(names[0]) ^ set(names[1]))}")
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "headsmith").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    lacking = expected - set(names[0])
    foreign = {n for n in set(names[0]) - expected if ".dist-info/" not in n}
    if lacking or foreign:
        raise SystemExit(f"the wheel lacks {sorted(lacking)} and should not have {sorted(foreign)}")
    for part in ("LICENSE", "README.md", "CHANGELOG.md", "tests", "docs"):
        if not (unpacked / part).exists():
            raise SystemExit(f"the sdist has no {part}")
    _say(f"{wheel.name}: {len(names[0])} files, {wheel.stat().st_size / 1e3:.0f} kB")
    return wheel


def _environment(folder: Path, what: str) -> Path:
    """A new environment with one thing installed; the folder of its programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--constraint", PINS, what], folder)
    return programs


def _types(work: Path, programs: Path) -> None:
    for name, source, right in (("user.py", USER, True), ("wrong.py", WRONG, False)):
        (work / name).write_text(source, encoding="utf-8")
        mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable"]
        told = subprocess.run(
            [*mypy, programs / "python", name], cwd=work, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if (told.returncode == 0) is not right:
            raise SystemExit(f"mypy --strict {name}:\n{told.stdout}{told.stderr}")


def _run(command: list[object], folder: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    told = subprocess.run(
        [str(part) for part in command], cwd=folder, env=clean, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if told.returncode != 0:
        raise SystemExit(f"{command}\nended with {told.returncode}:\n{told.stdout}{told.stderr}")


def _say(what: str) -> None:
    sys.stdout.write(f"ok: {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
