"""Hypothesis strategies that spoil what is right: JSON trees, bytes and lines of source."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "../..", "\x00", "\ud800", "<script>", "0-3,7", "NaN", "é" * 300]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def spoilt_trees(tree: Any, most: int = 3) -> st.SearchStrategy[Any]:
    """`tree` with one to `most` of its nodes deleted, doubled or replaced by anything."""

    @st.composite
    def draw_tree(draw: st.DrawFn) -> Any:
        found = [copy.deepcopy(tree)]  # a list, so that the root can be replaced too
        for _ in range(draw(st.integers(1, most))):
            container, key = draw(st.sampled_from(_places(found)))
            way = draw(st.sampled_from(["replace", "delete", "double", "rename"]))
            if way == "delete" and container is not found:
                del container[key]
            elif way == "double" and isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            elif way == "rename" and isinstance(container, dict):
                container[draw(st.text(max_size=8))] = container.pop(key)
            else:
                container[key] = draw(VALUES)
        return found[0]

    return draw_tree()


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every node below `node`."""
    found = []
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        found.append((node, key))
        found += _places(node[key])
    return found


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "cut", "insert", "remove"]),
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)
"""How bytes are spoilt; small, whatever the bytes are."""


def spoil_bytes(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """`data` cut short, with some bytes replaced, or with a piece put in or taken out."""
    found = bytearray(data)
    for way, place, piece in edits:
        at = place % max(1, len(found))
        if way == "replace":
            found[at : at + len(piece)] = piece
        elif way == "cut":
            del found[at:]
        elif way == "insert":
            found[at:at] = piece
        else:
            del found[at : at + len(piece)]
    return bytes(found)
