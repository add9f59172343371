"""The LibCST transformer behind `migrate`: one import statement in, one or more out.

A statement whose names all move to one place keeps its form and gets another module. Of one that
mixes, the names that stay keep the statement; those that go take their comments along.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, pairwise

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
        end = cst.TrailingWhitespace(newline=updated_node.trailing_whitespace.newline)
        return cst.FlattenSentinel(
            [
                updated_node.with_changes(body=[first]),
                *(cst.SimpleStatementLine(body=[part], trailing_whitespace=end) for part in rest),
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
        simple = _on_one_line(home, statement, names, places)
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
    for at, (place, following) in enumerate(pairwise(places)):
        comma = names[place].comma
        if following != place + 1 and isinstance(comma, cst.Comma):
            space = _leading_to(comma.whitespace_after, _before(names, statement.lpar, following))
            chosen[at] = chosen[at].with_changes(comma=comma.with_changes(whitespace_after=space))
    opening = statement.lpar
    if opening is not None and (places[0] or not keep):
        space = opening.whitespace_after if keep else _bare(opening.whitespace_after)
        space = _leading_to(space, _without_first_blanks(_before(names, opening, places[0])))
        opening = opening.with_changes(whitespace_after=space)
    return made.with_changes(names=chosen, lpar=opening, rpar=closing)


def _before(
    names: Sequence[cst.ImportAlias], opening: cst.LeftParen | None, place: int
) -> cst.BaseParenthesizableWhitespace | None:
    """What stands before a name, the comments above it included."""
    if place:
        return _after(names[place - 1])
    return opening.whitespace_after if opening is not None else None


def _empty_lines(space: cst.BaseParenthesizableWhitespace | None) -> Sequence[cst.EmptyLine]:
    return space.empty_lines if isinstance(space, cst.ParenthesizedWhitespace) else ()


def _leading_to(
    space: cst.BaseParenthesizableWhitespace, before: cst.BaseParenthesizableWhitespace | None
) -> cst.BaseParenthesizableWhitespace:
    """`space`, with the lines above a name as `before` has them and not its own."""
    if isinstance(space, cst.ParenthesizedWhitespace):
        return space.with_changes(empty_lines=_empty_lines(before))
    if before is None or not _above(before):
        return space
    return before.with_changes(first_line=cst.TrailingWhitespace())


def _above(space: cst.BaseParenthesizableWhitespace | None) -> bool:
    """Whether there are comments above the name that comes next."""
    return any(line.comment is not None for line in _empty_lines(space))


def _without_first_blanks(
    space: cst.BaseParenthesizableWhitespace | None,
) -> cst.BaseParenthesizableWhitespace | None:
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return space
    return space.with_changes(
        empty_lines=list(dropwhile(lambda line: line.comment is None, space.empty_lines))
    )


def _on_one_line(
    home: str, statement: cst.ImportFrom, names: Sequence[cst.ImportAlias], places: Sequence[int]
) -> cst.ImportFrom | None:
    """The names on one line without brackets, or None: they carry comments, or are too many."""
    opening, closing = statement.lpar, statement.rpar
    if any(_comment(_after(names[i])) or _above(_before(names, opening, i)) for i in places):
        return None
    if places[-1] == len(names) - 1:
        end = closing.whitespace_before if closing is not None else None
        if _above(_after(names[-1])) or _comment(end) or _above(end):
            return None
    plain = [
        alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in (names[i] for i in places)
    ]
    made = cst.ImportFrom(module=_module(home), names=plain)
    return made if len(cst.Module([]).code_for_node(made)) <= _WIDTH else None


def _after(alias: cst.ImportAlias) -> cst.BaseParenthesizableWhitespace | None:
    return alias.comma.whitespace_after if isinstance(alias.comma, cst.Comma) else None


def _comment(space: cst.BaseParenthesizableWhitespace | None) -> cst.Comment | None:
    """The comment behind a name, on its line."""
    return space.first_line.comment if isinstance(space, cst.ParenthesizedWhitespace) else None


def _with_comment(
    space: cst.BaseParenthesizableWhitespace,
    follows: cst.BaseParenthesizableWhitespace | None,
) -> cst.BaseParenthesizableWhitespace:
    """`space`, with the comment that `follows` begins with and none of its own."""
    if not isinstance(follows, cst.ParenthesizedWhitespace):
        return _bare(space)
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return space if _comment(follows) is None else follows.with_changes(empty_lines=[])
    return space.with_changes(first_line=follows.first_line, empty_lines=[])


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
