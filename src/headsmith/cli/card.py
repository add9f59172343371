"""The model card of an output folder, with what the source's own card tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headsmith.extras import require
from headsmith.report.card import FILE_NAME, card

if TYPE_CHECKING:
    from headsmith.report.snippet import Kind
    from headsmith.spec.run import RunRecord

__all__ = ["facts_of", "model_card"]

_LONGEST = 10_000  # characters of front matter that are read; real ones are far below


def model_card(
    record: RunRecord, source: str, files: Mapping[str, str | bytes], *, standalone: bool = False
) -> str:
    """The card of a pruned model.

    Args:
        record: of the run.
        source: the folder or hub id of the model that was pruned.
        files: what stands beside the model; `modules.json` tells a Sentence-Transformers model.
        standalone: whether the model opens without headsmith.
    """
    kind: Kind = "standalone" if standalone else "transformers"
    if "modules.json" in files and not standalone:
        kind = "sentence-transformers"
    return card(record, facts=facts_of(source), kind=kind)


def facts_of(source: str) -> dict[str, Any]:
    """The front matter of a model's README: licence, language and so on.

    Args:
        source: a local folder, or the id of a model on the hub.

    Returns:
        Its fields; empty where there is no README, or none that can be read.
    """
    from headsmith.cli.loading import read_file

    lines = (read_file(source, FILE_NAME) or "").removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---"), None)
    matter = "\n".join(lines[1:end]) if end is not None else ""
    if not 0 < len(matter) <= _LONGEST:
        return {}
    yaml = require("yaml", "pruning")
    try:
        found = yaml.safe_load(matter)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}
