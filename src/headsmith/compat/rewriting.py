"""The LibCST transformer behind `migrate`: one import statement in, one or more out.

A statement whose names all move to one place keeps its form and gets another module. Of one that
mixes, the names that stay keep the statement; those that go take their comments along.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from headsmith.compat.names import lookup

__all__ = ["ImportRewriter"]

_WIDTH = 88


class ImportRewriter(cst.CSTTransformer):
    """Rewrites `from … import …` of names that moved."""

    def leave_ImportFrom(  # noqa: N802
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.FlattenSentinel[cst.BaseSmallStatement]:
        """Split a statement by where its names are now."""
        module = _dotted(updated_node.module)
        if updated_node.relative or not module or isinstance(updated_node.names, cst.ImportStar):
            return updated_node
        groups: dict[str, list[int]] = {}
        aliases = list(updated_node.names)
        for i, alias in enumerate(aliases):
            home, new = _home(module, alias)
            groups.setdefault(home, []).append(i)
            aliases[i] = new
        if aliases == list(updated_node.names) and list(groups) == [module]:
            return updated_node
        if len(groups) == 1:
            (home,) = groups
            return updated_node.with_changes(module=_module(home), names=aliases)
        statement = updated_node.with_changes(names=aliases)
        order = sorted(groups, key=lambda home: (home != module, home.startswith("headsmith")))
        parts = [
            _part(statement, home, groups[home], keep=place == 0)
            for place, home in enumerate(order)
        ]
        parts[-1] = parts[-1].with_changes(semicolon=updated_node.semicolon)
        return cst.FlattenSentinel(parts)

    def leave_SimpleStatementLine(  # noqa: N802
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        """Put the parts of a statement that stood alone on lines of their own."""
        if len(original_node.body) > 1 or len(updated_node.body) == 1:
            return updated_node
        first, *rest = updated_node.body
        return cst.FlattenSentinel(
            [
                updated_node.with_changes(body=[first]),
                *(cst.SimpleStatementLine(body=[part]) for part in rest),
            ]
        )


def _home(module: str, alias: cst.ImportAlias) -> tuple[str, cst.ImportAlias]:
    """Where a name is imported from now, and how."""
    name = _dotted(alias.name)
    row = lookup(module, name)
    if row is None or not row.target:
        return module, alias
    home, _, new = row.target.partition(":")
    if new == name:
        return home, alias
    asname = alias.asname or cst.AsName(
        cst.Name(name),
        whitespace_before_as=cst.SimpleWhitespace(" "),
        whitespace_after_as=cst.SimpleWhitespace(" "),
    )
    return home, alias.with_changes(name=cst.Name(new), asname=asname)


def _part(
    statement: cst.ImportFrom, home: str, places: Sequence[int], *, keep: bool
) -> cst.ImportFrom:
    """The statement with some of its names, in the layout of the whole.

    Args:
        statement: all of it.
        home: the module these names are imported from.
        places: which of its names.
        keep: whether this part stands where the whole stood and keeps its opening comments.
    """
    assert not isinstance(statement.names, cst.ImportStar)  # noqa: S101
    names = list(statement.names)
    chosen = [names[i] for i in places]
    made = statement.with_changes(module=_module(home), semicolon=cst.MaybeSentinel.DEFAULT)
    if not keep:
        simple = _on_one_line(home, chosen, statement)
        if simple is not None:
            return simple
    last = names[-1]
    closing = statement.rpar
    if places[-1] != len(names) - 1:
        # This part ends with a name after which another followed.
        follows = _after(chosen[-1])
        if isinstance(last.comma, cst.Comma) and isinstance(
            last.comma.whitespace_after, cst.ParenthesizedWhitespace
        ):
            chosen[-1] = chosen[-1].with_changes(
                comma=last.comma.with_changes(
                    whitespace_after=_with_comment(last.comma.whitespace_after, follows)
                )
            )
        else:
            chosen[-1] = chosen[-1].with_changes(comma=last.comma)
            if closing is not None:
                closing = closing.with_changes(
                    whitespace_before=_with_comment(closing.whitespace_before, follows)
                )
    opening = statement.lpar
    if not keep and opening is not None:
        opening = opening.with_changes(whitespace_after=_bare(opening.whitespace_after))
    return made.with_changes(names=chosen, lpar=opening, rpar=closing)


def _on_one_line(
    home: str, chosen: Sequence[cst.ImportAlias], statement: cst.ImportFrom
) -> cst.ImportFrom | None:
    """The names on one line without brackets, or None: they carry comments, or are too many."""
    end = statement.rpar.whitespace_before if statement.rpar is not None else None
    if any(_comment(_after(alias)) for alias in chosen) or _comment(end):
        return None
    plain = [alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in chosen]
    made = cst.ImportFrom(module=_module(home), names=plain)
    return made if len(cst.Module([]).code_for_node(made)) <= _WIDTH else None


def _after(alias: cst.ImportAlias) -> cst.BaseParenthesizableWhitespace | None:
    return alias.comma.whitespace_after if isinstance(alias.comma, cst.Comma) else None


def _comment(space: cst.BaseParenthesizableWhitespace | None) -> cst.Comment | None:
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return None
    if space.first_line.comment is not None:
        return space.first_line.comment
    return next((line.comment for line in space.empty_lines if line.comment is not None), None)


def _with_comment(
    space: cst.BaseParenthesizableWhitespace,
    follows: cst.BaseParenthesizableWhitespace | None,
) -> cst.BaseParenthesizableWhitespace:
    """`space`, with the comments of `follows` and not its own."""
    if not isinstance(follows, cst.ParenthesizedWhitespace):
        return _bare(space)
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return space if _comment(follows) is None else follows
    return space.with_changes(first_line=follows.first_line, empty_lines=follows.empty_lines)


def _bare(space: cst.BaseParenthesizableWhitespace) -> cst.BaseParenthesizableWhitespace:
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return space
    return space.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])


def _module(dotted: str) -> cst.Attribute | cst.Name:
    first, *rest = dotted.split(".")
    node: cst.Attribute | cst.Name = cst.Name(first)
    for part in rest:
        node = cst.Attribute(node, cst.Name(part))
    return node


def _dotted(node: cst.BaseExpression | None) -> str:
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr.value}" if inner else ""
    return ""
