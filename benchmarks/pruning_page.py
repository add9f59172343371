"""Markdown tables of the results, for the docs: `python -m benchmarks.pruning_page`.

It reads `benchmarks/results/pruning-*.csv` and writes to standard output.
"""

from collections.abc import Sequence

from benchmarks.pruning_rows import Row, Table

Column = tuple[str, str, str]
"""Title, field, and how its number is written."""

SENTENCES: Sequence[Column] = (
    ("STS-B dev", "spearman", ".2f"),
    ("of dense", "of_dense", ".1%"),
    ("SICK", "sick", ".2f"),
    ("SST-2 probe", "sst2", ".2f"),
    ("ms, 1×128", "ms_1x128", ".1f"),
    ("faster", "faster_1x128", ".2f"),
    ("ms, 32×128", "ms_32x128", ".0f"),
    ("faster", "faster_32x128", ".2f"),
    ("CPU s", "cpu_seconds", ".0f"),
)
LABELLED: Sequence[Column] = (("labels", "labels", ""), ("of dense", "of_dense", ".1%"))


def main() -> None:
    """Write all tables there are."""
    show("Sentence embeddings", Table("sentences"), SENTENCES)
    minutes = (("minutes", "minutes", ""), *SENTENCES[:4])
    show("With distillation", Table("distilled"), minutes)
    accuracy = (("accuracy", "accuracy", ".2f"), ("as the dense", "agreement", ".1f"))
    show("A classifier", Table("supervised"), (*LABELLED, *accuracy))
    perplexity = (("perplexity", "perplexity", ".1f"), ("as the dense", "agreement", ".1f"))
    show("A language model", Table("language"), (LABELLED[0], *perplexity))
    latency = (
        ("batch", "batch", ""),
        ("time", "time", ".3f"),
        ("±", "time_error", ".3f"),
        ("FLOPs", "flops", ".1%"),
        ("STS-B dev", "spearman", ".2f"),
    )
    show("A budget of time", Table("latency"), latency, by_size=False)


def show(title: str, table: Table, columns: Sequence[Column], *, by_size: bool = True) -> None:
    """One table, the larger sizes first."""
    rows = table.rows
    if not rows:
        return
    if by_size:
        rows = sorted(rows, key=lambda r: -float(r["kept"]))
    columns = [c for c in columns if any(row.get(c[1]) for row in rows)]
    head = ["", *(["kept"] if by_size else []), *(c[0] for c in columns)]
    print(f"## {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        kept = [f"{float(row['kept']):.0%}"] if by_size else []
        cells = [row["way"], *kept, *(_cell(row, field, form) for _, field, form in columns)]
        print(f"| {' | '.join(cells)} |")
    last = rows[-1]
    told = ", ".join(
        f"{name} {last[name]}" for name in ("torch", "transformers", "cpu", "cores", "date")
    )
    print(f"\n{told}\n")


def _cell(row: Row, field: str, form: str) -> str:
    value = row.get(field, "")
    if not value:
        return ""
    written = format(float(value), form) if form else value
    return f"{written}×" if field.startswith("faster") else written


if __name__ == "__main__":
    main()
