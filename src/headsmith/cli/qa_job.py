"""One QA training job from a SQuAD file to a saved folder with its report."""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headsmith
from headsmith.cli.machine import machine, versions
from headsmith.cli.output import Output, clean
from headsmith.cli.qa_common import featurizer_for, read_labelled, tell_problems
from headsmith.errors import DataError, OutputError
from headsmith.extras import require
from headsmith.spec.qa_run import QARunRecord, thinned
from headsmith.spec.run import FILE_NAME

if TYPE_CHECKING:
    from headsmith.qa.decoding import Prediction
    from headsmith.qa.features import Featurizer
    from headsmith.qa.metrics import Evaluation
    from headsmith.qa.model import QAModel
    from headsmith.qa.settings import Calibration
    from headsmith.qa.squad_data import Problems, Question

__all__ = ["QAJob", "run", "split_by_context"]

_ASIDE = 20  # one context in so many is set aside to calibrate on
_SAMPLES = 8
_POINTS = 200
_TOLD_EVERY = 30.0  # seconds between two lines of progress where there is no terminal


@dataclass(frozen=True)
class QAJob:
    """What `headsmith qa train` is to do; see its options.

    Args:
        encoder: folder or hub id.
        data: the training file.
        eval_file: what to measure on.
        calibrate_file: what to calibrate on.
        out: the folder to write.
        overwrite: replace one that is there.
        resume: take up a killed run.
        workers: processes that make windows.
        cpu: stay on the CPU.
        bad: `"skip"` or `"refuse"`.
        options: of `TrainingOptions`.
        head: of `QASettings`.
        command: the command line.
    """

    encoder: str
    data: Path
    eval_file: Path | None
    calibrate_file: Path | None
    out: Path
    overwrite: bool
    resume: bool
    workers: int
    cpu: bool
    bad: str
    options: dict[str, Any]
    head: dict[str, Any]
    command: str


def run(job: QAJob, output: Output) -> None:
    """Read, train, calibrate, measure, write, and tell."""
    from headsmith.qa.squad_data import Problems

    problems = Problems()
    questions = read_labelled(job.data, job.bad, problems)
    measured = _other(job.eval_file, job.bad, output)
    calibrating = _other(job.calibrate_file, job.bad, output)
    if not calibrating and any(q.is_impossible for q in questions):
        questions, calibrating = split_by_context(questions, _ASIDE, job.options["seed"])
    with output.working("Opening the encoder"):
        from headsmith.cli.loading import open_tokenizer, quiet_libraries, refuse_no_folder

        refuse_no_folder(job.encoder)
        quiet_libraries()
        from headsmith.pruning.latency import longest_input
        from headsmith.qa.model import QAModel
        from headsmith.qa.settings import QASettings
        from headsmith.qa.training import TrainingOptions, train
        from headsmith.report.qa_page import render_qa

        options = TrainingOptions(**job.options)
        accelerator = require("accelerate", "qa").Accelerator(
            mixed_precision=options.mixed_precision, cpu=job.cpu or None
        )
        tokenizer = open_tokenizer(job.encoder)
        _seed(options.seed)
        model = QAModel.from_encoder(job.encoder, QASettings(**job.head))
        featurizer = featurizer_for(tokenizer, model.settings, longest_input(model))
        model.settings = replace(
            model.settings,
            max_length=featurizer.max_length,
            stride=featurizer.stride,
            question_first=featurizer.layout.question_first,
        )
    seconds: dict[str, float] = {}
    with _timed(seconds, "windows"):
        windows = _windows(questions, featurizer, problems, job.workers, output)
    main = accelerator.is_main_process
    if main:
        tell_problems(output, problems, job.data)
    folder = job.out.with_name(job.out.name + ".training")
    if folder.is_dir() and any(folder.iterdir()) and not job.resume:
        raise OutputError(
            f"{folder} holds the state of a run that did not end. Take it up with --resume, or "
            "delete it."
        )
    with _telling(output if main else None) as told:
        trained = train(
            model,
            windows,
            featurizer.layout,
            options,
            folder=folder,
            resume=job.resume,
            told=told,
            accelerator=accelerator,
        )
    if not main:
        return
    seconds["train"] = trained.seconds
    if calibrating:
        with _timed(seconds, "calibrate"):
            calibration = _calibrate(model, featurizer, calibrating, output)
        model.settings = replace(model.settings, calibration=calibration)
    predictions: list[Prediction] = []
    found: Evaluation | None = None
    if measured:
        with _timed(seconds, "evaluate"):
            predictions = _answers(model, featurizer, measured, "evaluate", output)
        from headsmith.qa.metrics import evaluate

        found = evaluate(measured, {p.id: p.answer for p in predictions})
    record = QARunRecord(
        model=job.encoder,
        model_type=str(model.config.model_type),
        headsmith=headsmith.__version__,
        versions=versions(),
        machine=machine(next(model.parameters()).device),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=job.command,
        settings={**job.options, **job.head, "output": str(job.out)},
        data={
            "train": job.data.name,
            "questions": len(questions),
            "windows": len(windows),
            "calibrated_on": len(calibrating),
            "eval": job.eval_file.name if job.eval_file else None,
            "eval_questions": len(measured),
            "skipped": problems.total,
            "resumed_at_step": trained.resumed_at,
        },
        losses=thinned(trained.losses),
        seconds={name: round(value, 2) for name, value in seconds.items()},
        scores={k: float(v) for k, v in (found.to_dict() if found else {}).items()},
        calibration=_plain(model.settings.calibration),
        thresholds=_thresholds(measured, predictions, model.settings.calibration),
        samples=_samples(measured, found),
    )
    with output.working("Saving"):
        from headsmith.pruning import save

        texts = {FILE_NAME: record.to_json(), "report.html": render_qa(record)}
        if predictions:
            answers = {p.id: p.answer for p in predictions}
            texts["predictions.json"] = json.dumps(answers, ensure_ascii=False, indent=1) + "\n"
        save(model, job.out, tokenizer=tokenizer, texts=texts, overwrite=job.overwrite)
        shutil.rmtree(folder, ignore_errors=True)
    shown: list[Any] = []
    if found is not None:
        table = output.table("", ">exact match", ">F1", ">questions", title=job.encoder)
        table.add_row("all", f"{found.exact:.2f}", f"{found.f1:.2f}", f"{found.total:,}")
        for name, (exact, f1, total) in found.parts.items():
            words = "with an answer" if name == "HasAns" else "without an answer"
            table.add_row(words, f"{exact:.2f}", f"{f1:.2f}", f"{total:,}")
        shown.append(table)
    shown += [
        f" {trained.steps:,} steps in {trained.seconds / 60:.1f} minutes",
        f" Model and report: {job.out}",
    ]
    output.result(
        {"written": job.out, "run": record.to_dict(), "skipped": dict(problems.counts)},
        *shown,
        brief=[str(job.out)],
    )


def split_by_context(
    questions: Sequence[Question], one_in: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Set the questions of one context in so many aside; none of its text is left in the rest."""
    contexts = sorted({q.context for q in questions})
    if len(contexts) < 2:
        return list(questions), []
    count = max(1, len(contexts) // one_in)
    chosen = set(random.Random(seed).sample(contexts, count))
    aside = [q for q in questions if q.context in chosen]
    return [q for q in questions if q.context not in chosen], aside


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _other(path: Path | None, bad: str, output: Output) -> list[Question]:
    from headsmith.qa.squad_data import Problems

    if path is None:
        return []
    problems = Problems()
    found = read_labelled(path, bad, problems)
    tell_problems(output, problems, path)
    return found


def _windows(
    questions: Sequence[Question],
    featurizer: Featurizer,
    problems: Problems,
    workers: int,
    output: Output,
) -> list[Any]:
    from headsmith.qa.features import features

    found: list[Any] = []
    with output.progress() as report:
        made = features(questions, featurizer, problems=problems, workers=workers)
        for number, item in enumerate(made, start=1):
            found += item.windows
            if number % 256 == 0 or number == len(questions):
                report("features", number, len(questions))
    if not found:
        raise DataError("No question could be used for training.")
    return found


def _answers(
    model: QAModel,
    featurizer: Featurizer,
    questions: Sequence[Question],
    stage: str,
    output: Output,
) -> list[Prediction]:
    from headsmith.qa.predicting import predict_features
    from headsmith.qa.squad_data import Problems

    problems = Problems()
    items = featurizer(questions, problems)
    tell_problems(output, problems, stage)
    with output.progress() as report:
        return predict_features(
            model,
            featurizer.layout,
            items,
            told=lambda done, total: report(stage, done, total),
        )


def _calibrate(
    model: QAModel, featurizer: Featurizer, questions: Sequence[Question], output: Output
) -> Calibration:
    from headsmith.qa.no_answer import calibrate

    return calibrate(questions, _answers(model, featurizer, questions, "calibrate", output))


def _thresholds(
    questions: Sequence[Question], predictions: Sequence[Prediction], calibration: Calibration
) -> list[tuple[float, float]]:
    """F1 over the threshold, at most some hundred points."""
    from headsmith.qa.metrics import score_questions, threshold_curve
    from headsmith.qa.no_answer import scores_by

    if not any(q.is_impossible for q in questions):
        return []
    by_id = {q.id: q for q in questions}
    best = {p.id: p.nbest[0].text if p.nbest else "" for p in predictions}
    scored = score_questions([by_id[p.id] for p in predictions], best)
    curve = threshold_curve(
        [s.f1 for s in scored],
        scores_by(calibration.source, predictions),
        [s.has_answer for s in scored],
        [bool(s.prediction) for s in scored],
    )
    points = [(x, 100 * y / len(scored)) for x, y in curve if math.isfinite(x)]
    every = -(-len(points) // _POINTS) or 1
    peak = max(range(len(points)), key=lambda i: points[i][1], default=0)
    return [p for i, p in enumerate(points) if i % every == 0 or i in (peak, len(points) - 1)]


def _samples(questions: Sequence[Question], found: Evaluation | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    by_id = {q.id: q for q in questions}
    every = max(1, len(found.questions) // _SAMPLES)
    return [
        {
            "question": clean(by_id[s.id].question),
            "answer": clean(s.prediction or ""),
            "right": clean(by_id[s.id].answers[0].text) if by_id[s.id].answers else "",
            "f1": s.f1,
        }
        for s in found.questions[::every][:_SAMPLES]
    ]


def _plain(calibration: Calibration) -> dict[str, Any]:
    told = asdict(calibration)
    return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in told.items()}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begun


@contextmanager
def _telling(output: Output | None) -> Iterator[Any]:
    """Tell how training goes: a bar on a terminal, else a line now and then."""
    if output is None:
        yield None
        return
    last = begun = time.monotonic()
    first = 0
    with output.progress() as report:

        def told(done: int, total: int, loss: float) -> None:
            nonlocal last, first
            report("train", done, total)
            first = first or done - 1
            now = time.monotonic()
            if now - last >= _TOLD_EVERY and not _on_terminal():
                last = now
                left = (now - begun) / (done - first) * (total - done)
                output.note(f"step {done} of {total}, loss {loss:.3f}, {left / 60:.0f} min left")

        yield told


def _on_terminal() -> bool:
    return sys.stderr.isatty()
