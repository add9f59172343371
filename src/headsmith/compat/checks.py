"""The checks behind `doctor`, one function a kind of finding.

Each looks at the syntax tree of one file; what a name stands for is told by the file's imports
and classes alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headsmith.compat.local_copies import wrong_copies
from headsmith.compat.name_rules import gone_by_rule
from headsmith.compat.names import GONE_MODULES, METHODS, lookup
from headsmith.compat.sources import imports_transformers

__all__ = ["CHECKS", "Check", "SourceFile"]

_REMOVED = frozenset(m.name for m in METHODS if m.name.isidentifier()) - {"prune_heads"}
_NOT_BLOCKS = ("PreTrainedModel", "Output", "OutputWithPast", "Config", "Mixin", "Tokenizer")
_REMOVED_BYTES = tuple(name.encode() for name in sorted(_REMOVED))
# An opening bracket, or a brace and one text that no colon follows: a list, a tuple or a set.
_LISTED = re.compile(
    rb"_tied_weights_keys\b[^=\n]*=[\s\\]*(?:[\[(]|\{\s*(?:#[^\n]*\s*)*[rbf]*([\"'])[^\"'\n]*\1\s*[,}])"
)
_FROM_MODELS = re.compile(rb"from[ \t\\\r\n]+transformers\.models\b")
_NOT_KEPT = re.compile(rb"persistent\s*=\s*False\b")
_HEAD_MASK = re.compile(rb"head_mask\s*=(?!=)")
_MISSING = "{} is not in {} any more"
_NOT_READ = "Transformers 5 does not read it there: patch what calls it now, or delete the line"
_ELSEWHERE = "do without it, or copy it from Transformers 4"
_RESTORE = "call headsmith.compat.restore() before this file is imported"

_Found = Iterator[tuple[int, str, str, str]]


class SourceFile:
    """A parsed file, with what several checks ask of it."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.nodes = list(ast.walk(tree))
        self.classes = {n.name: n for n in self.nodes if isinstance(n, ast.ClassDef)}
        self.functions = {n.name for n in self.nodes if isinstance(n, ast.FunctionDef)}
        self.imported: dict[str, tuple[str, str]] = {}
        self.modules: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module or "", alias.name)
            elif isinstance(node, ast.Import):
                self.modules.update((a.asname, a.name) for a in node.names if a.asname)

    def full_name(self, dotted: str) -> str:
        """A dotted name with what its first part was imported as in the place of that part."""
        first, dot, rest = dotted.partition(".")
        whole = self.modules.get(first) or ".".join(self.imported.get(first, (first,)))
        return f"{whole}{dot}{rest}"

    def bases(self, node: ast.ClassDef) -> list[str]:
        """The names of a class's bases, those of its bases in this file among them."""
        found: list[str] = []
        waiting = [node]
        while waiting:
            for base in waiting.pop().bases:
                name = _last(base)
                if name and name not in found:
                    found.append(name)
                    if name in self.classes:
                        waiting.append(self.classes[name])
        return found

    def lineage(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """A class and those of its bases that are in this file."""
        return [node, *(self.classes[b] for b in self.bases(node) if b in self.classes)]

    @property
    def models(self) -> Iterator[ast.ClassDef]:
        """Classes that look like model classes."""
        for node in self.classes.values():
            if any(base.endswith("PreTrainedModel") for base in self.bases(node)):
                yield node


def _names(file: SourceFile) -> _Found:
    for node in file.nodes:
        if isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if module.startswith("transformers"):
                for alias in node.names:
                    yield from _name(module, alias.name, node.lineno, imported=True)
        elif isinstance(node, ast.Attribute):
            module, _, name = file.full_name(_path(node)).rpartition(".")
            if not module.startswith("transformers"):
                continue
            if isinstance(node.ctx, ast.Load):
                yield from _name(module, name, node.lineno, imported=False)
            elif lookup(module, name):
                yield node.lineno, "name", _MISSING.format(name, module), _NOT_READ
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module(alias.name, node.lineno)


def _module(module: str, line: int) -> _Found:
    remedy = _RESTORE if module in GONE_MODULES else gone_by_rule(module)
    if remedy:
        yield line, "name", f"the module {module} is gone from Transformers 5", remedy


def _unlisted_name(module: str, name: str, line: int, *, imported: bool) -> _Found:
    """A name that the table does not hold, but perhaps its module, or a rule."""
    remedy = gone_by_rule(module)
    if module in GONE_MODULES:  # as an attribute the name may be a module of it
        remedy = _ELSEWHERE if imported else ""
    if remedy:
        what = f"{name} went with its module: {module} is gone from Transformers 5"
        yield line, "name", what, remedy
    elif remedy := gone_by_rule(module, name):
        yield line, "name", _MISSING.format(name, module), remedy
    elif imported:
        yield from _module(f"{module}.{name}", line)


def _name(module: str, name: str, line: int, *, imported: bool) -> _Found:
    row = lookup(module, name)
    if row is None:
        yield from _unlisted_name(module, name, line, imported=imported)
        return
    what = _MISSING.format(name, module)
    if row.target and imported:
        remedy = f"headsmith migrate --write: {row.target.replace(':', '.')}"
    elif row.target:
        home, _, new = row.target.partition(":")
        remedy = f"import {new} from {home}"
    elif row.stand_in:
        remedy = f"{row.note}; or {_RESTORE}" if row.note else _RESTORE
    else:
        remedy = row.note
    yield line, "name", what, remedy


def _copies(file: SourceFile) -> _Found:
    for node in wrong_copies(file.tree):
        yield (
            node.lineno,
            "copy",
            f"{node.name} does not shift heads by those pruned before them: "
            "a second prune removes the wrong ones",
            "delete it and import find_pruneable_heads_and_indices from headsmith.torch",
        )


def _initialisation(file: SourceFile) -> _Found:
    for cls in file.models:
        init = _method(cls, "__init__")
        calls = {} if init is None else _own_calls(init)
        if "init_weights" in calls and "post_init" not in calls:
            yield (
                calls["init_weights"],
                "init",
                f"{cls.name} calls init_weights() alone: from_pretrained and save_pretrained "
                "raise AttributeError (all_tied_weights_keys)",
                f"call self.post_init() instead; or {_RESTORE}",
            )


def _tied(file: SourceFile) -> _Found:
    for cls in file.models:
        keys = _assigned(cls, "_tied_weights_keys")
        if isinstance(keys, (ast.List, ast.Tuple, ast.Set)) and keys.elts:
            yield (
                keys.lineno,
                "tied-list",
                f"{cls.name}._tied_weights_keys is a list: Transformers 5 wants a dict",
                f"write {{tied name: name of the weight}}; or {_RESTORE}",
            )
        method = _method(cls, "get_output_embeddings")
        if method is not None and _gives_own(method) and not _declares_tied(file.lineage(cls)):
            yield (
                method.lineno,
                "untied",
                f"{cls.name} says what its output embeddings are, and nothing ties them",
                'declare _tied_weights_keys = {"<output>.weight": "<input>.weight"}; '
                f"or {_RESTORE}",
            )


def _gives_own(method: ast.FunctionDef) -> bool:
    """Whether output embeddings are of this class: not None, nor those of a model inside."""
    given = [n.value for n in ast.walk(method) if isinstance(n, ast.Return)]
    return any(
        value is not None
        and not _is(value, None)
        and not (isinstance(value, ast.Call) and _last(value.func) == method.name)
        for value in given
    )


def _declares_tied(lineage: list[ast.ClassDef]) -> bool:
    """Whether tied keys are declared as Transformers 5 wants them, of the class or in a method."""
    values = [_assigned(cls, "_tied_weights_keys") for cls in lineage]
    return any(isinstance(value, ast.Dict) for value in values) or any(
        isinstance(n, ast.Attribute)
        and n.attr == "_tied_weights_keys"
        and isinstance(n.ctx, ast.Store)
        for cls in lineage
        for n in ast.walk(cls)
    )


def _generation(file: SourceFile) -> _Found:
    for cls in file.models:
        method = _method(cls, "prepare_inputs_for_generation")
        if method is None or any(b.endswith("GenerationMixin") for b in file.bases(cls)):
            continue
        if any(b.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration"))
               and b not in file.classes for b in file.bases(cls)):  # fmt: skip
            continue  # a native head: it generates
        yield (
            method.lineno,
            "generate",
            f"{cls.name} prepares inputs for generate and has no generate since 4.50",
            f"inherit from transformers.GenerationMixin too; or {_RESTORE}",
        )


def _buffers(file: SourceFile) -> _Found:
    for node in file.nodes:
        if not isinstance(node, ast.Call) or _last(node.func) != "register_buffer":
            continue
        if any(_is(held, None) for held in _buffer_values(node)):
            continue  # nothing is in it yet
        for keyword in node.keywords:
            if keyword.arg == "persistent" and _is(keyword.value, False):
                name = (_text(node.args[0]) if node.args else "") or "a buffer"
                yield (
                    node.lineno,
                    "buffer",
                    f"{name} is in no checkpoint: from_pretrained leaves garbage in it",
                    f"set it in _init_weights; or {_RESTORE}",
                )


def _buffer_values(call: ast.Call) -> list[ast.expr]:
    return [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "tensor")]


def _blocks(file: SourceFile) -> _Found:
    for cls in file.classes.values():
        for base in cls.bases:
            module, name = file.imported.get(_last(base), ("", ""))
            parts = module.split(".")
            if parts[:2] != ["transformers", "models"] or "modeling" not in parts[-1]:
                continue
            if name.endswith(_NOT_BLOCKS) or "For" in name or name.endswith("Model"):
                continue
            yield (
                cls.lineno,
                "native-block",
                f"{cls.name} inherits from {module}.{name}, whose arguments and results changed: "
                "a layer gives a tensor, not a tuple, and caches are Cache objects",
                "compare its forward with that of Transformers 5, or copy the block of 4.x",
            )


def _head_masks(file: SourceFile) -> _Found:
    applies = any(
        isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mult) and "head_mask" in _names_in(n)
        for n in file.nodes
    )
    for node in file.nodes:
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg != "head_mask" or _is(keyword.value, None):
                continue
            passed_on = "head_mask" in _names_in(keyword.value) or _is_none_list(keyword.value)
            if passed_on and applies:
                continue  # a model that has attention of its own hands its mask down
            yield (
                node.lineno,
                "head-mask",
                "head_mask is silently ignored by native models of Transformers 5",
                "with headsmith.pruning.head_mask(model, mask): …",
            )


def _methods(file: SourceFile) -> _Found:
    for node in file.nodes:
        if (
            isinstance(node, ast.Attribute)
            and node.attr in _REMOVED
            and node.attr not in file.functions
        ):
            yield node.lineno, "method", f"{node.attr} is gone from model classes", _RESTORE


@dataclass(frozen=True)
class Check:
    """A kind of finding.

    Args:
        look: is given a file and yields (line, kind, what is there, what to do).
        concerns: whether a file's bytes may hold such a finding; what it refuses has none.
    """

    look: Callable[[SourceFile], _Found]
    concerns: Callable[[bytes], bool]


def _has(*all_of: bytes) -> Callable[[bytes], bool]:
    return lambda source: all(text in source for text in all_of)


CHECKS: tuple[Check, ...] = (
    Check(_names, imports_transformers),
    Check(_copies, _has(b"find_pruneable_heads_and_indices")),
    Check(_initialisation, _has(b"PreTrainedModel", b".init_weights")),
    Check(
        _tied,
        lambda source: (
            b"PreTrainedModel" in source
            and (b"_tied_weights_keys" in source or b"def get_output_embeddings" in source)
        ),
    ),
    Check(_generation, _has(b"PreTrainedModel", b"def prepare_inputs_for_generation")),
    Check(_buffers, lambda source: bool(_NOT_KEPT.search(source))),
    Check(_blocks, lambda source: bool(_FROM_MODELS.search(source))),
    Check(_head_masks, lambda source: bool(_HEAD_MASK.search(source))),
    Check(_methods, lambda source: any(b"." + name in source for name in _REMOVED_BYTES)),
)
"""What is looked for."""


def _method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def _assigned(cls: ast.ClassDef, name: str) -> ast.expr | None:
    for node in cls.body:
        if isinstance(node, ast.Assign) and any(_last(t) == name for t in node.targets):
            return node.value
        if isinstance(node, ast.AnnAssign) and _last(node.target) == name:
            return node.value
    return None


def _own_calls(function: ast.FunctionDef) -> dict[str, int]:
    """Methods called on `self` → the line."""
    return {
        n.func.attr: n.lineno
        for n in ast.walk(function)
        if isinstance(n, ast.Call)
        and isinstance(n.func, ast.Attribute)
        and isinstance(n.func.value, ast.Name)
        and n.func.value.id == "self"
    }


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _path(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        inner = _path(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return getattr(node, "id", "")


def _names_in(node: ast.AST) -> set[str]:
    return {_last(n) for n in ast.walk(node) if isinstance(n, (ast.Name, ast.Attribute))}


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _text(node: ast.expr) -> str:
    held = node.value if isinstance(node, ast.Constant) else None
    return held if isinstance(held, str) else ""


def _is_none_list(node: ast.expr) -> bool:
    lists = [n for n in ast.walk(node) if isinstance(n, (ast.List, ast.Tuple))]
    return bool(lists) and all(_is(e, None) for n in lists for e in n.elts)
