"""`headsmith export`: a model for where headsmith, or torch, is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headsmith.cli.options import MODEL
from headsmith.cli.output import Output, output_options
from headsmith.cli.target import check_out
from headsmith.errors import DataError
from headsmith.spec.run import FILE_NAME, RunRecord

if TYPE_CHECKING:
    from rich.console import RenderableType
    from torch import nn

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith export smaller --onnx -o smaller-onnx
  headsmith export smaller --standalone -o smaller-anywhere
Use them in Python:
  onnxruntime.InferenceSession("smaller-onnx/onnx/model.onnx")
  transformers.AutoModel.from_pretrained("smaller-anywhere", trust_remote_code=True)
"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=MODEL)
@click.option(
    "--onnx",
    "form",
    flag_value="onnx",
    help="Write an ONNX file, checked in ONNX Runtime on several shapes.",
)
@click.option(
    "--standalone",
    "form",
    flag_value="standalone",
    help="Write a checkpoint that Transformers opens without headsmith.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write; must not exist or be empty.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output folder if it is there.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-4,
    show_default=True,
    metavar="DIFFERENCE",
    help="With --onnx: the largest difference allowed, as a part of the largest output.",
)
@output_options
def command(
    model: str, form: str | None, out: Path, overwrite: bool, tolerance: float, output: Output
) -> None:
    """Write MODEL, pruned or not, for where headsmith is not installed.

    MODEL is a local folder or the id of a model on the hub. Batch size and sequence length stay
    free. Files that make a folder a Sentence-Transformers model go along.
    """
    if form is None:
        raise click.UsageError("Say what to write: --onnx or --standalone.")
    check_out(out, overwrite=overwrite, source=model)
    if form == "onnx":
        from headsmith.extras import require

        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "onnx")
    with output.working("Opening the model"):
        from headsmith.cli.loading import open_without_tokenizer, sentence_files

        opened = open_without_tokenizer(model, "cpu")
        tokenizer = _tokenizer(model)
        files = sentence_files(model)
    with output.working("Exporting"):
        if form == "onnx":
            result, shown = _onnx(opened, tokenizer, files, out, overwrite, tolerance)
        else:
            result, shown = _standalone(opened, tokenizer, files, out, overwrite, model)
    output.result(result, *shown, brief=[result["written"]])


def _tokenizer(model: str) -> Any:
    """The model's tokenizer; None where it has none, as models of images do."""
    from headsmith.cli.loading import open_tokenizer
    from headsmith.errors import CheckpointError

    try:
        return open_tokenizer(model)
    except CheckpointError:
        return None


def _onnx(
    model: nn.Module,
    tokenizer: Any,
    files: dict[str, str | bytes],
    out: Path,
    overwrite: bool,
    tolerance: float,
) -> tuple[dict[str, Any], list[RenderableType]]:
    from headsmith.pruning.onnx import export_onnx
    from headsmith.report.numbers import sized

    done = export_onnx(
        model, out, tokenizer=tokenizer, texts=files, tolerance=tolerance, overwrite=overwrite
    )
    shapes = [f"{batch} × {length}" if length else str(batch) for batch, length in done.shapes]
    told = {
        "written": str(done.file),
        "inputs": done.inputs,
        "outputs": done.outputs,
        "bytes": done.bytes,
        "checked": [list(shape) for shape in done.shapes],
        "difference": done.difference,
        "tolerance": tolerance,
    }
    return told, [
        f"ONNX model: {done.file} ({sized(done.bytes)})",
        f"Inputs:     {', '.join(done.inputs)}",
        f"Outputs:    {', '.join(done.outputs)}",
        f"Checked in ONNX Runtime on {', '.join(shapes)}: the largest difference is "
        f"{done.difference:.1e} (allowed: {tolerance:g}).",
    ]


def _standalone(
    model: nn.Module,
    tokenizer: Any,
    files: dict[str, str | bytes],
    out: Path,
    overwrite: bool,
    name: str,
) -> tuple[dict[str, Any], list[RenderableType]]:
    from headsmith.cli.card import model_card
    from headsmith.pruning.standalone import MODELING_FILE, save_standalone
    from headsmith.report.card import FILE_NAME as CARD

    texts: dict[str, str | bytes] = dict(files)
    record = _record(name, out)
    if record is not None:
        texts[FILE_NAME] = record.to_json()
        texts[CARD] = model_card(record, name, files, standalone=True)
    save_standalone(model, out, tokenizer=tokenizer, texts=texts, overwrite=overwrite)
    auto = json.loads((out / "config.json").read_text(encoding="utf-8"))["auto_map"]
    own = f"{MODELING_FILE.removesuffix('.py')}.{type(model).__name__}"
    opener = next(auto_class for auto_class, path in auto.items() if path == own)
    return {"written": str(out), "auto_map": auto}, [
        f"Checkpoint: {out}",
        f"Open it with: transformers.{opener}.from_pretrained({str(out)!r}, "
        "trust_remote_code=True)",
    ]


def _record(name: str, out: Path) -> RunRecord | None:
    """The record of the run that made the model, if it stands beside it."""
    from headsmith.cli.report import read_record

    if not (Path(name) / FILE_NAME).is_file():
        return None
    try:
        record = read_record(Path(name))
    except DataError:
        return None
    if not isinstance(record, RunRecord):
        return None
    record.settings["output"] = str(out)
    return record
