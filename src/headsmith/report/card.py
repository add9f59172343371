"""The model card: the README.md that hubs show of a pruned model, drawn from a run record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from headsmith.errors import DataError
from headsmith.report import tables
from headsmith.report.headline import headline
from headsmith.report.snippet import Kind, snippet
from headsmith.spec.run import RunRecord

__all__ = ["FILE_NAME", "KEPT_FACTS", "card"]

FILE_NAME = "README.md"

KEPT_FACTS = (
    "license",
    "license_name",
    "license_link",
    "language",
    "pipeline_tag",
    "library_name",
    "base_model",
    "tags",
)
"""What is kept of the front matter of the model that was pruned."""

_TAGS = ("headsmith", "pruned", "structured-pruning")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_LIBRARIES = ("transformers", "sentence-transformers")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")


def card(
    record: RunRecord,
    *,
    facts: Mapping[str, Any] | None = None,
    kind: Kind = "transformers",
) -> str:
    """Draw the card.

    Its front matter names the library, tags, and the base model where the record names one as
    hubs do (`owner/name`); what is known of the base model itself (licence, language, …) is
    taken over. All values are escaped: a record may come from a stranger.

    Args:
        record: what `headsmith prune` wrote as `headsmith-run.json`.
        facts: front matter of the base model's own card; of it `KEPT_FACTS` are kept.
        kind: how the model is to be opened.

    Returns:
        Markdown, with YAML front matter.

    Raises:
        DataError: the record holds values of the wrong kind.

    Example:
        >>> from headsmith.report.card import card
        >>> from headsmith.spec.run import RunRecord
        >>> record = RunRecord("me/tiny", "bert", "BertModel", "0.1.0", {}, {}, "", "", {}, {},
        ...                    [], {"flops": 100}, {"flops": 50})
        >>> for line in card(record, facts={"license": "mit"}).splitlines()[:6]:
        ...     print(line)
        ---
        library_name: "transformers"
        base_model: "me/tiny"
        license: "mit"
        tags: ["headsmith", "pruned", "structured-pruning"]
        ---
    """
    try:
        return _template().render(
            facts={
                name: json.dumps(value, ensure_ascii=False)  # JSON is YAML
                for name, value in _front_matter(record, facts or {}, kind).items()
            },
            name=str(record.model).rstrip("/\\").replace("\\", "/").rpartition("/")[2],
            run=record,
            headline=headline(record),
            removed=_removed(record),
            changes=tables.changes(record),
            quality=tables.quality_rows(record),
            blocks=[
                (name, kind_, left, which if kind_ == "heads" else "")
                for name, kind_, left, which in tables.block_rows(record)
            ],
            data=tables.pairs(record.data),
            settings=tables.pairs(record.settings),
            machine=tables.pairs(record.machine),
            snippet=snippet(record, kind),
            kind=kind,
        )
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise DataError(
            "The run record holds values that cannot be drawn. Expected what "
            f"`headsmith prune` writes. Received: {type(error).__name__}: {error}."
        ) from error


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headsmith.report"),
        autoescape=False,  # Markdown: each value passes through a filter of ours
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = _text
    environment.filters["code"] = _code
    return environment.get_template("card.md.j2")


def _text(value: Any) -> str:
    """A value as one line of text in which nothing is markup."""
    return _MARKUP.sub(r"\\\1", _line(value)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def _code(value: Any) -> str:
    """A value as code in a line; it may hold backticks and bars."""
    line = _line(value).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def _line(value: Any) -> str:
    return " ".join(_printable(str(value)).split())


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text)


def _front_matter(record: RunRecord, facts: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    known = {name: _plain(facts[name]) for name in KEPT_FACTS if facts.get(name) is not None}
    known = {name: value for name, value in known.items() if value}
    sentences = kind == "sentence-transformers"
    found: dict[str, Any] = {"library_name": _LIBRARIES[sentences]}
    if _HUB_ID.fullmatch(record.model):
        found["base_model"] = record.model
    elif "base_model" in known:  # a folder has no name on a hub, but may tell its ancestor's
        found["base_model"] = known["base_model"]
    for name in ("license", "license_name", "license_link", "language", "pipeline_tag"):
        if name in known:
            found[name] = known[name]
    if sentences:
        found.setdefault("pipeline_tag", "sentence-similarity")
    earlier = known.get("tags", [])
    tags = [*_TAGS, *(earlier if isinstance(earlier, list) else [earlier])]
    found["tags"] = list(dict.fromkeys(map(str, tags)))
    return found


def _plain(value: Any) -> Any:
    """A string or a list of strings, fit for YAML; None for anything else."""
    if isinstance(value, str):
        return _printable(value)[:200]
    if isinstance(value, (list, tuple)):
        return [_printable(v)[:200] for v in value[:100] if isinstance(v, str)]
    return None


def _removed(record: RunRecord) -> list[str]:
    """Sentences that tell what went."""
    told = []
    for kind, name in (("heads", "attention heads"), ("neurons", "feed-forward neurons")):
        blocks = [b for b in record.blocks if b.kind == kind]
        before, after = sum(b.count for b in blocks), sum(len(b.kept) for b in blocks)
        if before:
            empty = sum(not b.kept for b in blocks)
            without = f"; {empty} of {len(blocks)} layers are left without" if empty else ""
            told.append(f"{before - after:,} of {before:,} {name}{without}")
    return told
