"""What `headsmith doctor PATH` shows of a source tree."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsmith.cli.output import Output, clean

if TYPE_CHECKING:
    from headsmith.compat.doctor import Examination

__all__ = ["show_examination"]


def show_examination(paths: tuple[Path, ...], output: Output) -> int:
    """Examine source files and tell what was found.

    Args:
        paths: files and folders.
        output: how to speak.

    Returns:
        How many findings there are.

    Raises:
        DataError: a path does not exist.
    """
    from headsmith.compat.doctor import KINDS, examine

    with output.progress() as report:
        found = examine(paths, workers=os.cpu_count() or 1, progress=report)
    for path, reason in found.skipped:
        output.warn(f"{clean(path)} was passed over: {clean(reason)}")
    times = Counter(f.kind for f in found.findings)
    table = output.table(">Found", "What")
    for kind, title in KINDS.items():
        if times[kind]:
            table.add_row(str(times[kind]), title)
    output.result(
        {
            "files": found.files,
            "findings": [asdict(f) for f in found.findings],
            "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped],
        },
        *_listed(found),
        *([table] if times else []),
        f" {len(found.findings)} findings in {found.files} files."
        if times
        else f" Nothing to mend in {found.files} files.",
        brief=[f"{f.path}:{f.line}: {f.kind}" for f in found.findings],
    )
    return len(found.findings)


def _listed(found: Examination) -> list[Any]:
    from rich.padding import Padding
    from rich.text import Text

    shown: list[Any] = []
    for finding in found.findings:
        place = Text(f"{clean(finding.path)}:{finding.line}", style="bold")
        shown.append(place.append(f"  {finding.kind}", style="yellow"))
        shown.append(Padding(Text(clean(finding.what)), (0, 0, 0, 2), expand=False))
        shown.append(
            Padding(Text(f"→ {clean(finding.remedy)}", style="green"), (0, 0, 0, 2), expand=False)
        )
    return shown
