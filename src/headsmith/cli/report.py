"""`headsmith report`: draw the report page again from what a run wrote down."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headsmith.cli.output import Output, output_options
from headsmith.errors import DataError
from headsmith.files import write_file
from headsmith.spec.qa_run import QARunRecord
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
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="Where to write the page.",
)
@click.option("--overwrite", is_flag=True, help="Replace a page that is there.")
@output_options
def command(run: Path, target: Path, overwrite: bool, output: Output) -> None:
    """Draw the report page of a run again.

    RUN is the headsmith-run.json that `headsmith prune` or `headsmith qa train` wrote, or the
    folder it is in. The page is one HTML file that needs nothing else.
    """
    record = read_record(run)
    if isinstance(record, QARunRecord):
        from headsmith.report.qa_page import qa_headline, render_qa

        told, page = qa_headline(record), render_qa(record)
    else:
        from headsmith.report.headline import headline
        from headsmith.report.page import render

        told, page = headline(record), render(record)
    write_file(target, page, overwrite=overwrite)
    output.result(
        {"report": target, "headline": told},
        f" {told}",
        f" Report written to {target}",
        brief=[str(target)],
    )


def read_record(path: Path) -> RunRecord | QARunRecord:
    """Read a run record, of pruning or of QA training.

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
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        return QARunRecord.from_json(text) if _is_qa(text) else RunRecord.from_json(text)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _is_qa(text: str) -> bool:
    try:
        return QARunRecord.is_one(json.loads(text))
    except (ValueError, RecursionError):
        return False
