"""`headsmith report`: draw the report page again from what a run wrote down."""

from __future__ import annotations

from pathlib import Path

import click

from headsmith.cli.output import Output, output_options
from headsmith.cli.writing import write_file
from headsmith.errors import DataError
from headsmith.spec.run import FILE_NAME, RunRecord

__all__ = ["command", "read_record"]

_EPILOG = """\b
Examples:
  headsmith report smaller
  headsmith report smaller/headsmith-run.json -o report.html --overwrite
"""

_LARGEST = 256 * 2**20  # bytes; a record of the largest models is far below


@click.command(epilog=_EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where to write the page.",
)
@click.option("--overwrite", is_flag=True, help="Replace a page that is there.")
@output_options
def command(run: Path, target: Path, overwrite: bool, output: Output) -> None:
    """Draw the report page of a pruning run again.

    RUN is the headsmith-run.json that `headsmith prune` wrote, or the folder it is in. The
    page is one HTML file that needs nothing else.
    """
    from headsmith.report.headline import headline
    from headsmith.report.page import render

    record = read_record(run)
    write_file(target, render(record), overwrite=overwrite)
    output.result(
        {"report": target, "headline": headline(record)},
        f" {headline(record)}",
        f" Report written to {target}",
        brief=[str(target)],
    )


def read_record(path: Path) -> RunRecord:
    """Read a run record.

    Args:
        path: the JSON file, or the folder that holds `headsmith-run.json`.

    Raises:
        DataError: there is none, or it is not one.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"There is no run record at {file}. Expected the {FILE_NAME} that "
            "`headsmith prune` writes beside the model."
        )
    try:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{file} is too large to be a run record.")
        return RunRecord.from_json(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
