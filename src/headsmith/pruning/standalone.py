"""Checkpoints that load where headsmith is not installed.

The folder holds a short `modeling_headsmith.py`: the stock classes of Transformers, whose
modules are given the sizes noted in `config.json` before weights are read. Transformers runs it
when asked to with `trust_remote_code=True`. No code of Transformers is copied, and no index of
what was removed is needed: sizes are enough.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from headsmith.errors import CheckpointError, HeadsmithError
from headsmith.files import new_folder
from headsmith.pruning import no_heads, resized
from headsmith.pruning.checkpoint import save
from headsmith.pruning.families.describe import base_of
from headsmith.pruning.record import METHOD
from headsmith.pruning.resized import KEY
from headsmith.torch import Conv1D

__all__ = ["MODELING_FILE", "save_standalone", "sizes_of"]

MODELING_FILE = "modeling_headsmith.py"
_SIMPLE = (int, float, str, bool, type(None))
_HEADER = '''"""Pruned models for `trust_remote_code=True`. Written by headsmith, Apache-2.0.

The classes are those of Transformers. Once built, their modules take the sizes that the field
`{key}` of config.json tells; then the weights are read.
"""

from __future__ import annotations
'''


def save_standalone(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    tokenizer: Any = None,
    texts: Mapping[str, str | bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a pruned model so that it loads without headsmith.

    `AutoModel.from_pretrained(folder, trust_remote_code=True)` opens it, and so do the other
    auto classes that Transformers has for this kind of model. What was written is opened and
    compared with `model`, weight by weight, before the folder appears.

    Args:
        model: a Transformers model that `apply_plan` has cut, or a dense one.
        folder: where to write; must not exist or be empty.
        tokenizer: saved beside the model when given.
        texts: further files, path below the folder → contents; text is written as UTF-8.
        overwrite: replace a folder that is there.

    Raises:
        CheckpointError: the model holds code of headsmith that sizes cannot tell.
        OutputError: the folder exists, is not writable, or the disk is full.

    Example:
        >>> import tempfile
        >>> from transformers import AutoModel, BertConfig, BertModel
        >>> from headsmith import PrunePlan
        >>> from headsmith.pruning import apply_plan
        >>> from headsmith.pruning.standalone import save_standalone
        >>> from headsmith.spec.plan import BlockPlan
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = BertModel(config)
        >>> plan = PrunePlan("bert", {"encoder.layer.0.attention": BlockPlan("heads", 2, (1,))})
        >>> apply_plan(model, plan)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_standalone(model, folder)
        ...     sorted(p.name for p in Path(folder).iterdir())
        ['config.json', 'model.safetensors', 'modeling_headsmith.py']
    """
    sizes = sizes_of(model)
    classes = _classes(model)
    with new_folder(Path(folder), overwrite=overwrite) as aside:
        save(model, aside, tokenizer=tokenizer, texts=texts)
        (aside / MODELING_FILE).write_text(_source(classes.values()), encoding="utf-8")
        _rewrite_config(aside / "config.json", sizes, classes)
        _check(aside, model)


def sizes_of(model: nn.Module) -> dict[str, dict[str, Any] | list[str]]:
    """How a model differs from one built from its config alone, in sizes.

    Args:
        model: a Transformers model, pruned or not.

    Returns:
        What `headsmith.pruning.resized.resize` takes; empty for a dense model.

    Raises:
        CheckpointError: a module is of a class that only headsmith has.
    """
    whole = _dense_twin(model)
    base, dense = base_of(model)[0], base_of(whole)[0]
    shapes: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    hollow: dict[str, Any] = {}
    from_nothing: list[str] = []
    own = dict(base.named_modules())
    stock = dict(dense.named_modules())
    for path, module in own.items():
        if isinstance(module, no_heads.NoHeads):
            hollow[path] = _told(module)
            continue
        other = stock.get(path)
        if other is not None and isinstance(module, Conv1D):
            from_nothing.append(path)  # the stock one cannot take rows of width 0
        elif other is None or type(module) is not type(other):
            raise CheckpointError(
                f"{path} is a {type(module).__name__}, which only headsmith has: sizes alone "
                f"cannot tell how a {type(model).__name__} pruned like this computes. Save it "
                "with headsmith.pruning.save, or export it to ONNX."
            )
        else:
            attributes |= {
                f"{path}.{name}": value
                for name, value in vars(module).items()
                if _differs(name, value, vars(other))
            }
        shapes |= {
            f"{path}.{name}": "x".join(map(str, p.shape))
            for name, p in module.named_parameters(recurse=False)
            if p.shape != other.get_parameter(name).shape
        }
    found = {
        "shapes": shapes,
        "attributes": attributes,
        "no_heads": hollow,
        "from_nothing": from_nothing,
    }
    return {name: value for name, value in found.items() if value}  # type: ignore[misc]


def _dense_twin(model: nn.Module) -> nn.Module:
    config = copy.deepcopy(model.config)
    for note in ("quantization_config", "pruned_heads", KEY):
        if hasattr(config, note):
            delattr(config, note)
    with torch.device("meta"):
        twin: nn.Module = type(model)(config)
    return twin


def _differs(name: str, value: Any, stock: Mapping[str, Any]) -> bool:
    sized = ("in_features", "out_features", "nf", "nx")  # told by the shapes
    return (
        name in stock
        and name not in (*sized, "training")
        and not name.startswith("_")
        and isinstance(value, _SIMPLE)
        and value != stock[name]
    )


def _told(module: no_heads.NoHeads) -> dict[str, Any]:
    """The arguments that make the stand-in again, but for the layer it keeps."""
    plain = {n: v for n, v in vars(module).items() if not n.startswith("_") and n != "training"}
    writer = plain.pop("writer_name")
    plain = {n: v for n, v in plain.items() if v}  # what is not the default
    if module.layer_idx == 0:
        plain["layer_idx"] = 0
    return {"writer": writer, **plain} if writer else plain


def _classes(model: nn.Module) -> dict[str, type[nn.Module]]:
    """Auto class → the class it stands for, for the kind of model that this is."""
    config_class = type(model.config)
    found: dict[str, type[nn.Module]] = {}
    for name in dir(transformers):
        if not name.startswith("AutoModel"):
            continue
        mapping = getattr(getattr(transformers, name), "_model_mapping", None)
        if mapping is None or config_class not in mapping:
            continue
        classes = mapping[config_class]
        options = classes if isinstance(classes, (tuple, list)) else (classes,)
        found[name] = type(model) if type(model) in options else options[0]
    if type(model) not in found.values():
        raise CheckpointError(
            f"No auto class of Transformers opens a {type(model).__name__}, so it cannot be "
            "loaded without headsmith. Save it with headsmith.pruning.save."
        )
    return found


def _source(classes: Iterable[type[nn.Module]]) -> str:
    own = [
        # The same names, so that pipelines and losses, which go by them, know the classes.
        f"class {name}(Resized, transformers.{name}):\n"
        f'    """transformers.{name}, its modules resized."""\n'
        for name in sorted({c.__name__ for c in classes})
    ]
    modules = [ast.parse(Path(str(m.__file__)).read_text("utf-8")) for m in (no_heads, resized)]
    imports = {line for tree in modules for line in _imports(tree)} | {"import transformers"}
    definitions = [text for tree in modules for text in _definitions(tree)]
    header = _HEADER.format(key=KEY) + "\n" + "\n".join(sorted(imports))
    return "\n\n\n".join(part.strip() for part in (header, *definitions, *own)) + "\n"


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            if module != "__future__" and not module.startswith("headsmith"):
                yield ast.unparse(node)


def _definitions(tree: ast.Module) -> Iterator[str]:
    """Functions, classes and constants, their docstrings cut to the first paragraph."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) != "__all__":
            yield ast.unparse(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for inner in ast.walk(node):
                if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                    _shorten(inner)
            yield ast.unparse(node)


def _shorten(node: ast.FunctionDef | ast.ClassDef) -> None:
    # What follows the first paragraph may be an example, and examples import headsmith.
    told = ast.get_docstring(node)
    if told:
        node.body[0] = ast.Expr(ast.Constant(told.partition("\n\n")[0]))


def _rewrite_config(
    path: Path, sizes: Mapping[str, Any], classes: Mapping[str, type[nn.Module]]
) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    note = config.get("quantization_config") or {}
    if note.get("quant_method") == METHOD:
        del config["quantization_config"]
    config.pop("pruned_heads", None)
    stem = MODELING_FILE.removesuffix(".py")
    config["auto_map"] = {
        **config.get("auto_map", {}),
        **{auto: f"{stem}.{own.__name__}" for auto, own in classes.items()},
    }
    if sizes:
        config[KEY] = sizes
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check(folder: Path, model: nn.Module) -> None:
    """Open what was written as Transformers would, and compare it with `model`."""
    name = f"headsmith_standalone_{os.getpid()}"
    spec = importlib.util.spec_from_file_location(name, folder / MODELING_FILE)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - it is a .py file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    cached = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
        dtype = next(model.parameters()).dtype
        again = getattr(module, type(model).__name__).from_pretrained(folder, dtype=dtype)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"What was written cannot be opened again: {error}") from error
    finally:
        sys.dont_write_bytecode = cached
        del sys.modules[name]
    before, after = model.state_dict(), again.state_dict()
    wrong = [n for n in before.keys() | after.keys() if not _same(before.get(n), after.get(n))]
    if wrong:
        raise HeadsmithError(
            f"{len(wrong)} weights are not the same when opened again, the first {min(wrong)!r}. "
            "Nothing was written; please report this."
        )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one.cpu(), other.cpu())
