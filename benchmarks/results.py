"""Rows of the table: written as CSV for scripts, printed for people."""

import csv
import os
import platform
import statistics
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

import headsmith
from benchmarks.harness import Case, Timing

CSV = Path(__file__).parent / "out" / "results.csv"

Row = dict[str, str]


def row(
    topic: str, case: Case, timing: Timing, ours_bytes: int | None, reference_bytes: int | None
) -> Row:
    """Describe one case: times in milliseconds, memory in MiB, and where it was measured."""
    cells = {"topic": topic, "case": case.name, "setting": case.setting}
    for side, seconds in (("ours", timing.ours), ("reference", timing.reference)):
        low, _, high = statistics.quantiles(seconds, n=4)
        cells[f"{side}_ms"] = f"{statistics.median(seconds) * 1e3:.5f}"
        cells[f"{side}_iqr_ms"] = f"{(high - low) * 1e3:.5f}"
        cells[f"{side}_best_ms"] = f"{min(seconds) * 1e3:.5f}"
    cells["faster_median"] = f"{timing.faster(statistics.median):.3f}"
    cells["faster_best"] = f"{timing.faster(min):.3f}"
    for side, weight in (("ours", ours_bytes), ("reference", reference_bytes)):
        cells[f"{side}_peak_extra_mib"] = "" if weight is None else f"{weight / 2**20:.2f}"
    for side, error in zip(("ours", "reference"), timing.errors or ("", ""), strict=True):
        cells[f"{side}_error"] = f"{error:.3g}" if error != "" else ""
    cells["rounds"] = str(len(timing.ours))
    return cells | _circumstances()


def save(topic: str, rows: list[Row], part: bool = False) -> None:
    """Write the rows of a topic; those of other topics stay as an earlier run left them.

    With `part` the rows of this topic that were not measured again stay as well.
    """
    CSV.parent.mkdir(exist_ok=True)
    others: list[Row] = []
    if CSV.exists():
        with CSV.open(newline="", encoding="utf-8") as file:
            measured = {(new["case"], new["setting"]) for new in rows}
            others = [
                old
                for old in csv.DictReader(file)
                if old["topic"] != topic or (part and (old["case"], old["setting"]) not in measured)
            ]
    with CSV.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(others + rows)


def show(cells: Row) -> None:
    """Print one row of the table as soon as it is known."""
    weights = [cells[f"{side}_peak_extra_mib"] for side in ("ours", "reference")]
    memory = f"{float(weights[0]):.1f} / {float(weights[1]):.1f}" if all(weights) else "–"
    if cells["ours_error"]:
        memory += f"   error {cells['ours_error']} / {cells['reference_error']}"
    times = [
        f"{float(cells[f'{side}_ms']):.3f} ±{float(cells[f'{side}_iqr_ms']) / 2:.3f}"
        for side in ("ours", "reference")
    ]
    print(
        _LINE.format(
            f"{cells['case']}, {cells['setting']}",
            *times,
            f"{float(cells['faster_median']):.2f}×",
            f"{float(cells['faster_best']):.2f}×",
            memory,
        ),
        flush=True,
    )


def header(transformers: str | None = None) -> str:
    """Head of the table, with what all its rows have in common.

    `transformers` is the version beside which ours is timed, if it is in another environment.
    """
    told = _circumstances()
    told["transformers"] = transformers or told["transformers"]
    names = ("cpu", "threads", "python", "torch", "numpy", "transformers", "headsmith")
    columns = ("case", "ours, ms", "reference, ms", "faster", "at best", "peak extra MiB")
    return "\n".join(
        [
            ", ".join(f"{name} {told[name]}" for name in names),
            "Median of a call ± half the interquartile range; both sides in turns.",
            "Memory and errors against float64: ours / reference.",
            "At best: the same ratio of the fastest rounds, which a busy machine disturbs least.",
            "",
            _LINE.format(*columns),
        ]
    )


_LINE = "{:<78} {:>19} {:>19} {:>8} {:>8}   {}"


def _circumstances() -> Row:
    return {
        "device": "cpu",
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "transformers": version("transformers"),
        "headsmith": headsmith.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    """Name of the processor; Linux tells it in a file only."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
