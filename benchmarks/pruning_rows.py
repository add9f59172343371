"""Rows of the tables of pruning: saved one by one, so that a run that was stopped goes on.

The tables are `benchmarks/results/pruning-*.csv`, small and kept in git; what is large (models
trained for them, plans) lies in `benchmarks/out`.
"""

import csv
import io
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import headsmith
from headsmith.files import replace_file

HERE = Path(__file__).parent
OUT = HERE / "out" / "pruning"
RESULTS = Path(os.environ.get("RESULTS", HERE / "results"))

AGAIN = os.environ.get("AGAIN", "")
"""Ways with this in their name are measured again, such as `headsmith`, when ours has changed."""

Row = dict[str, str]


class Table:
    """One CSV file, written anew after each row.

    Args:
        name: of the file, without `pruning-` and the ending.
        keys: columns that tell one row from another.
    """

    def __init__(self, name: str, keys: tuple[str, ...] = ("way", "kept")) -> None:
        self.path = RESULTS / f"pruning-{name}.csv"
        self.keys = keys
        self.rows: list[Row] = self._saved()
        self._stale = {self._key(row) for row in self.rows if AGAIN and AGAIN in row["way"]}

    def find(self, **keys: object) -> Row | None:
        """The row with these keys, if it is there and not to be measured again."""
        wanted = self._key({name: _cell(value) for name, value in keys.items()})
        if wanted in self._stale:
            return None
        return next((row for row in self.rows if self._key(row) == wanted), None)

    def put(self, row: Mapping[str, Any]) -> Row:
        """Add a row, or fill in columns of the one that is there, and save."""
        cells = {name: _cell(value) for name, value in row.items()}
        self.rows = self._saved()  # another run may have added to it meanwhile
        self._stale.discard(self._key(cells))
        old = self.find(**cells)
        if old is None:
            self.rows.append(old := cells)
        else:
            old.update(cells)
        self.save()
        return old

    def _saved(self) -> list[Row]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def save(self) -> None:
        """Write all rows; columns are those of any row, in the order they were first seen."""
        last = list(circumstances({}))
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        names = [n for n in names if n not in last] + [n for n in last if n in names]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        replace_file(self.path, text.getvalue().encode())

    def _key(self, row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row.get(key, "") for key in self.keys)


def circumstances(packages: Mapping[str, str] | None = None) -> Row:
    """Where and with what a row was measured.

    Args:
        packages: versions of another environment, where the work was done there.
    """
    found = {}
    for name in ("torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return {
        "headsmith": headsmith.__version__,
        **found,
        **(packages or {}),
        "threads": os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count()),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _cpu() -> str:
    """Name of the processor; Linux tells it in a file only."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
