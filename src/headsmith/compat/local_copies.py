"""Copies of `find_pruneable_heads_and_indices` that go wrong on a second prune.

Heads are told by the number they had at first. Once a head before it is gone, a head's place in
the layer is its number less the heads gone before it; most copies in the wild leave that out and
remove the wrong head. A right copy looks at each head pruned before and compares it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["wrong_copies"]

_NAME = "find_pruneable_heads_and_indices"
_SEARCHES = {"bisect", "bisect_left", "bisect_right", "searchsorted", "surviving_heads"}


def wrong_copies(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """The definitions in a file that do not shift heads by those pruned before them.

    Args:
        tree: the parsed file.

    Example:
        >>> import ast
        >>> from headsmith.compat.local_copies import wrong_copies
        >>> source = '''
        ... def find_pruneable_heads_and_indices(heads, n_heads, head_size, already_pruned_heads):
        ...     mask = torch.ones(n_heads, head_size)
        ...     for head in set(heads) - already_pruned_heads:
        ...         mask[head] = 0
        ... '''
        >>> [f.lineno for f in wrong_copies(ast.parse(source))]
        [2]
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.lstrip("_") == _NAME:
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
            delegates = any(
                isinstance(n, (ast.Name, ast.Attribute)) and _name(n) == _NAME
                for n in ast.walk(node)
            )
            if not delegates and not (len(arguments) > 3 and _shifts(node, arguments[3])):
                yield node


def _shifts(function: ast.FunctionDef, pruned: str) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _name(node.func) in _SEARCHES:
            return True
        if any(_holds(over, pruned) for over in _gone_through(node)) and _compares(node):
            return True
    return False


def _gone_through(node: ast.AST) -> list[ast.expr]:
    """What a loop or a comprehension goes through; nothing for any other node."""
    if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp)):
        return [part.iter for part in node.generators]
    return [node.iter] if isinstance(node, ast.For) else []


def _compares(node: ast.AST) -> bool:
    orders = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return any(
        isinstance(n, ast.Compare) and any(isinstance(op, orders) for op in n.ops)
        for n in ast.walk(node)
    )


def _holds(node: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
