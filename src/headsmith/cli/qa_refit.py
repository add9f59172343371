"""`headsmith qa refit`: fit again when a trained model says "no answer"."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from headsmith.cli.options import MODEL, device_option
from headsmith.cli.output import Output, output_options
from headsmith.cli.qa_common import (
    batch_size_option,
    featurizer_for,
    open_qa,
    read_labelled,
    refuse_option,
    tell_problems,
)
from headsmith.cli.target import check_out
from headsmith.errors import DataError

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith qa refit reader --data held-out.json -o calibrated
  headsmith qa refit reader --data held-out.json -o calibrated --calibrate-only
"""


@click.command(epilog=_EPILOG)
@click.argument("model", type=MODEL)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Questions with and without answers, best not those of the training.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where to write the model.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output folder if it is there.")
@click.option(
    "--calibrate-only", is_flag=True, help="Leave the answer class; fit threshold and temperature."
)
@click.option(
    "--source",
    type=click.Choice(["auto", "class", "span", "both"]),
    default="auto",
    show_default=True,
    help="The no-answer score: the answer class, the span against CLS, or their sum; auto takes "
    "whose probabilities fit best.",
)
@click.option(
    "--metric",
    type=click.Choice(["f1", "exact"]),
    default="f1",
    show_default=True,
    help="What the threshold is best for.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    default=4000,
    show_default=True,
    metavar="N",
    help="Questions used at most.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@batch_size_option(32, "Windows run at once.")
@refuse_option
@device_option
@output_options
def command(
    model: str,
    data: Path,
    out: Path,
    overwrite: bool,
    calibrate_only: bool,
    source: Any,
    metric: str,
    limit: int,
    seed: int,
    batch_size: int,
    bad: str,
    device: str,
    output: Output,
) -> None:
    """Refit the answer class of MODEL on the soft start, and calibrate "no answer".

    Transformers 4.34 trained the answer class on the state of the gold start, which tells the
    label; at inference it sees another one. Encoder and spans stay as they are: only the
    class is fitted again, then the threshold and the temperature on questions it was not
    fitted on.
    """
    check_out(out, overwrite=overwrite, source=model)
    from headsmith.cli.qa_job import split_by_context
    from headsmith.qa.squad_data import Problems

    problems = Problems()
    questions = read_labelled(data, bad, problems)[:limit]
    fitted, calibrating = split_by_context(questions, 2, seed)
    if calibrate_only or not calibrating:
        calibrating = questions
    with output.working("Opening the model"):
        opened, tokenizer = open_qa(model, device)
        from headsmith.pruning import save
        from headsmith.pruning.latency import longest_input
        from headsmith.qa.no_answer import area_under_curve, calibrate, scores_by
        from headsmith.qa.predicting import DecodingOptions, predict_features
        from headsmith.qa.refit import refit_answer_class, soft_start_features

        featurizer = featurizer_for(tokenizer, opened.settings, longest_input(opened))
    refit = None
    seconds: dict[str, float] = {}
    with output.progress() as report:
        if not calibrate_only:
            begun = time.perf_counter()
            states, labels = soft_start_features(
                opened,
                featurizer(fitted, problems),
                featurizer.layout,
                batch_size=batch_size,
                told=lambda done, total: report("fit", done, total),
            )
            seconds["states"] = time.perf_counter() - begun
            begun = time.perf_counter()
            refit = refit_answer_class(opened, states, labels, seed=seed)
            seconds["fit"] = time.perf_counter() - begun
        predictions = predict_features(
            opened,
            featurizer.layout,
            featurizer(calibrating, problems),
            DecodingOptions(batch_size=batch_size),
            told=lambda done, total: report("calibrate", done, total),
        )
    tell_problems(output, problems, data)
    if not predictions:
        raise DataError("No question could be used to calibrate on.")
    found = calibrate(
        calibrating, predictions, source=None if source == "auto" else source, metric=metric
    )
    opened.settings = replace(opened.settings, calibration=found)
    by_id = {q.id: q for q in calibrating}
    auc = area_under_curve(
        scores_by(found.source, predictions), [bool(by_id[p.id].is_impossible) for p in predictions]
    )
    save(opened, out, tokenizer=tokenizer, overwrite=overwrite)
    table = output.table("", ">before", ">after")
    if refit is not None:
        table.add_row("answer class, loss", f"{refit.loss_before:.4f}", f"{refit.loss_after:.4f}")
        table.add_row("answer class, AUC", f"{refit.auc_before:.4f}", f"{refit.auc_after:.4f}")
    shown: list[Any] = [] if refit is None else [table]
    shown += [
        f" No answer: score {found.source}, threshold {found.threshold:.4g}, offset "
        f"{found.offset:.4g}, temperature {found.temperature:.4g}, AUC {auc:.3f}, on "
        f"{found.questions:,} questions",
        f" Model: {out}",
    ]
    output.result(
        {
            "written": out,
            "refit": refit,
            "calibration": asdict(found),
            "auc": None if math.isnan(auc) else auc,
            "seconds": seconds,
            "skipped": dict(problems.counts),
        },
        *shown,
        brief=[str(out)],
    )
