"""Public names: one entry each, from the docstring, in the form of Sphinx's Python domain."""

from __future__ import annotations

import ast
import enum
import inspect
import os
import pkgutil
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from headsmith_docs.docstrings import first_sentence, to_markdown

__all__ = ["PACKAGES", "entry", "module_page", "packages", "public", "spec_pages"]

os.environ.setdefault("KERAS_BACKEND", "torch")

PAGES = Path(__file__).parents[2]
_PLACED = re.compile(r"^<!-- generated: entry (\S+) -->$", re.MULTILINE)


def _spec() -> list[str]:
    """The modules of `headsmith.spec`: it exports nothing itself, they do."""
    import headsmith.spec

    names = sorted(
        f"headsmith.spec.{m.name}" for m in pkgutil.iter_modules(headsmith.spec.__path__)
    )
    return [name for name in names if hasattr(import_module(name), "__all__")]


PACKAGES = (
    "headsmith.torch",
    "headsmith.keras",
    "headsmith.keras.losses",
    "headsmith.pruning",
    "headsmith.pruning.families",
    "headsmith.pruning.score",
    "headsmith.qa",
    "headsmith.convert",
    "headsmith.compat",
    "headsmith.report",
    "headsmith.errors",
    *_spec(),
    "headsmith",
)
"""What is documented. A name that several export is at home in the first of these."""


_INNER = ("headsmith.cli", "headsmith.report.figures")


def packages() -> list[str]:
    """All packages of headsmith whose `__init__` exports names, for others to use."""
    import headsmith

    found = ["headsmith"]
    for module in pkgutil.walk_packages(headsmith.__path__, "headsmith."):
        if module.ispkg and not module.name.startswith(_INNER):
            found.append(module.name)
    return [name for name in found if hasattr(import_module(name), "__all__")]


def public(module: str) -> list[str]:
    """The names a module exports, classes first, each kind by its alphabet."""
    names: list[str] = import_module(module).__all__
    kinds = {name: _kind(getattr(import_module(module), name)) for name in names}
    order = ("class", "exception", "function", "data")
    return sorted(names, key=lambda n: (order.index(kinds[n]), n.lower()))


@cache
def placed() -> frozenset[str]:
    """Names whose entry stands on a page of its own choice, not on that of their module."""
    texts = (page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    return frozenset(name for text in texts for name in _PLACED.findall(text))


def home(module: str, name: str) -> str:
    """The full name under which an object has its entry."""
    wanted = getattr(import_module(module), name)
    if _kind(wanted) == "data":
        same = [m for m in PACKAGES if name in import_module(m).__all__]
        candidates = [f"{m}.{name}" for m in same if getattr(import_module(m), name) is wanted]
    else:
        candidates = [
            f"{m}.{n}"
            for m in PACKAGES
            for n in import_module(m).__all__
            if getattr(import_module(m), n) is wanted
        ]
    chosen = [c for c in candidates if c in placed()]
    return (chosen or candidates)[0]


def module_page(module: str) -> str:
    """All public names of a module: a table of them, then the entries not placed elsewhere.

    Args:
        module: its import name.
    """
    rows = ["| name | |", "|---|---|"]
    entries = []
    for name in public(module):
        full = f"{module}.{name}"
        at = home(module, name)
        told = first_sentence(_docstring(module, name)).replace("|", r"\|")
        other = "" if at.rpartition(".")[2] == name else f" The same object as `{at}`."
        rows.append(f"| {{py:obj}}`{name} <{at}>` | {told}{other} |")
        if at == full and full not in placed():
            entries.append(entry(full))
    intro = inspect.getdoc(import_module(module)) or ""
    head = _body(intro.partition("\nExample:")[0], module)
    return "\n\n".join(["\n" + head, "\n".join(rows), *entries])


def spec_pages() -> str:
    """A section for each module of `headsmith.spec`."""
    return "\n\n".join(f"## {module}\n\n{module_page(module)}" for module in _spec())


def entry(full: str) -> str:
    """The entry of one public name.

    Args:
        full: such as `headsmith.torch.Conv1D`.
    """
    module, _, name = full.rpartition(".")
    found = getattr(import_module(module), name)
    kind = _kind(found)
    if kind == "data":
        return _directive(6, "data", module, name, "", _body(_docstring(module, name), module))
    parts = [_body(_docstring(module, name), module)]
    if kind in ("class", "exception"):
        parts += [_member(found, member, module) for member in _members(found)]
    signature = "" if kind == "exception" else _signature(found, module)
    return _directive(7, kind, module, name, signature, "\n\n".join(parts))


def _directive(
    fence: int, kind: str, module: str, name: str, signature: str, body: str, *options: str
) -> str:
    ticks = "`" * fence
    where = [f":module: {module}"] if module else []
    head = "\n".join([f"{ticks}{{py:{kind}}} {name}{signature}", *where, *options])
    return f"{head}\n\n{body}\n{ticks}"


def _kind(found: Any) -> str:
    if inspect.isclass(found):
        return "exception" if issubclass(found, BaseException) else "class"
    return "function" if inspect.isroutine(found) else "data"


def _signature(found: Any, module: str) -> str:
    if inspect.isclass(found) and (
        getattr(found, "_is_protocol", False) or issubclass(found, enum.Enum)
    ):
        return ""
    if inspect.isclass(found) and found.__init__ is object.__init__ and _plain_new(found):
        return ""
    signature = inspect.signature(found)
    parameters = [
        p.replace(default=_Shown("...")) if _is_inner(p.default) else p
        for p in signature.parameters.values()
        if p.name != "self"
    ]
    if inspect.isclass(found):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    text = str(signature.replace(parameters=parameters))
    # Annotations are strings here, which inspect quotes.
    text = re.sub(r"'([^']*)'(?=[,)=\s]|$)", _unquote, text).replace("typing.", "")
    names = _classes(module)
    return re.sub(r"(?<![\w.'\"])[A-Z]\w*(?![\w.(])", lambda m: names.get(m[0], m[0]), text)


@cache
def _classes(module: str) -> dict[str, str]:
    """What a class is called in annotations → the full name of its entry, seen from a module."""
    found: dict[str, str] = {}
    for package in (*reversed(PACKAGES), module):
        for name in import_module(package).__all__:
            if inspect.isclass(getattr(import_module(package), name)):
                found[name] = home(package, name)
    return found


def _unquote(found: re.Match[str]) -> str:
    before = found.string[: found.start()]
    return found[1] if before.endswith((": ", "-> ")) else found[0]


def _plain_new(found: type) -> bool:
    return found.__new__ is object.__new__


class _Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _is_inner(default: Any) -> bool:
    return default is not inspect.Parameter.empty and (
        inspect.isroutine(default) or " at 0x" in repr(default) or "<" in repr(default)
    )


def _members(found: type) -> list[str]:
    """Public methods and properties with a docstring, own or of a base class of headsmith."""
    seen: dict[str, None] = {}
    for base in found.__mro__:
        if not base.__module__.startswith("headsmith"):
            continue
        for name, value in vars(base).items():
            described = isinstance(value, (classmethod, staticmethod, property)) or callable(value)
            if not name.startswith("_") and described and getattr(value, "__doc__", None):
                seen.setdefault(name)
    return list(seen)


def _member(owner: type, name: str, module: str) -> str:
    value = inspect.getattr_static(owner, name)
    body = _body(inspect.getdoc(value) or "", module)
    if isinstance(value, property):
        return _directive(6, "property", "", f"{owner.__name__}.{name}", "", body)
    kind = {classmethod: "classmethod", staticmethod: "staticmethod"}.get(type(value), "method")
    signature = _signature(getattr(owner, name), module)
    return _directive(6, kind, "", f"{owner.__name__}.{name}", signature, body)


def _body(docstring: str, module: str) -> str:
    return to_markdown(docstring, lambda text: _target(text, module))


def _target(text: str, module: str) -> str | None:
    """The entry that a word in backticks means, seen from a module."""
    exported = import_module(module).__all__
    if text in exported:
        return home(module, text)
    within, _, name = text.rpartition(".")
    if within in PACKAGES and name in import_module(within).__all__:
        return home(within, name)
    return None


@cache
def _docstring(module: str, name: str) -> str:
    """Of classes and functions their own; of a value the string below its assignment."""
    found = getattr(import_module(module), name)
    if _kind(found) != "data":
        return inspect.getdoc(found) or ""
    return _below_assignment(import_module(module), name) or ""


def _below_assignment(module: ModuleType, name: str) -> str | None:
    body = ast.parse(inspect.getsource(module)).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        if name in names:
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                return inspect.cleandoc(text.value)
            return None
        imported = statement.names if isinstance(statement, ast.ImportFrom) else []
        if name in [alias.asname or alias.name for alias in imported]:
            return _below_assignment(import_module(statement.module or ""), name)
    return None
