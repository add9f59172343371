"""The bad inputs that are tried, by command: how each is made, and what it must end with.

`docs/bad-inputs.md` shows them with the messages they get; `test_bad_inputs.py` holds the two
together.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where an input is made, and what there is to spoil."""

    folder: Path
    encoder: Path
    gpt2: Path
    texts: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """A file with these contents."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return path

    def model(self, change: Callable[[Path], None]) -> Path:
        """A copy of the encoder, spoilt."""
        folder = self.folder / "model"
        shutil.copytree(self.encoder, folder)
        change(folder)
        return folder

    def config(self, **fields: Any) -> Path:
        """A copy of the encoder with other fields in its config."""

        def change(folder: Path) -> None:
            path = folder / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

        return self.model(change)

    def prune(self, *, model: Path | str | None = None, data: Path | None = None) -> list[Any]:
        """Arguments of `headsmith prune`, complete but for the budget."""
        return ["prune", model or self.encoder, "--data", data or self.texts, "-o", self.out]

    @property
    def out(self) -> Path:
        """The output folder; nothing may be there afterwards."""
        return self.folder / "out"


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Args:
        group: what is bad, a heading of the page.
        what: the input in a few words.
        arguments: makes it, and gives the command line.
        code: the exit code it must end with.
    """

    group: str
    what: str
    arguments: Callable[[Place], list[Any]]
    code: int = 3


def _plan(**fields: Any) -> str:
    plan = {"format": "headsmith-plan", "version": 1, "model_type": "bert", "blocks": {}}
    return json.dumps({**plan, **fields})


def _block(name: str = "encoder.layer.0.attention", **fields: Any) -> str:
    block = {"kind": "heads", "count": 4, "kept": "0-1", **fields}
    return _plan(blocks={name: block})


def _with_plan(text: str) -> Callable[[Place], list[Any]]:
    return lambda p: [*p.prune(), "--plan", p.write("plan.json", text)]


def _with_data(name: str, content: str | bytes, *more: str) -> Callable[[Place], list[Any]]:
    return lambda p: [*p.prune(data=p.write(name, content)), "--flops", "0.5", *more]


def _with_model(change: Callable[[Path], None]) -> Callable[[Place], list[Any]]:
    return lambda p: [*p.prune(model=p.model(change)), "--flops", "0.5"]


def _noted(plan: str) -> Callable[[Place], list[Any]]:
    """A checkpoint whose config holds this plan."""
    note = {"quant_method": "headsmith", "plan": json.loads(plan)}
    return lambda p: ["inspect", p.config(quantization_config=note)]


def _options(*options: str) -> Callable[[Place], list[Any]]:
    return lambda p: [*p.prune(), *options]


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def _not_a_number(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def _of_question(**fields: Any) -> str:
    question = {"id": "q", "question": "Who?", "context": "The cat.", "answers": [], **fields}
    return json.dumps(question) + "\n"


def _evaluate(predictions: str | bytes, data: str = "", name: str = "p.json") -> Any:
    right = _of_question(answers=[{"text": "The cat", "answer_start": 0}])
    return lambda p: [
        "qa",
        "evaluate",
        p.write(name, predictions),
        p.write("d.jsonl", data or right),
    ]


def _occupied(place: Place) -> list[Any]:
    place.write("full/precious.txt", "mine")
    return [*place.prune()[:-1], place.folder / "full", "--flops", "0.5"]


def _a_file_in_the_way(place: Place) -> list[Any]:
    return [*place.prune()[:-1], place.write("file", "mine"), "--flops", "0.5"]


def _code_in_the_checkpoint(place: Place) -> list[Any]:
    folder = place.config(
        model_type="mine", auto_map={"AutoConfig": "code.C", "AutoModel": "code.M"}
    )
    (folder / "code.py").write_text("raise SystemExit('ran')\n")
    return [*place.prune(model=folder), "--flops", "0.5"]


_DEEP = "[" * 100_000 + "]" * 100_000

BAD_INPUTS = [
    # Texts to calibrate on
    BadInput("Texts", "a file that is not there", lambda p: [
        *p.prune(data=p.folder / "none.txt"), "--flops", "0.5"]),
    BadInput("Texts", "an empty file", _with_data("empty.txt", "")),
    BadInput("Texts", "blank lines alone", _with_data("blank.txt", "\n \n\t\n")),
    BadInput("Texts", "one text", _with_data("one.txt", "only this\n")),
    BadInput("Texts", "a PDF", _with_data("book.pdf", "%PDF-1.7")),
    BadInput("Texts", "bytes that are not UTF-8", _with_data("latin.txt", b"caf\xe9\nbar\n")),
    BadInput("Texts", "UTF-16", _with_data("wide.txt", "a text\nanother\n".encode("utf-16"))),
    BadInput("Texts", "a table without a column of texts", _with_data("t.csv", "a,b\n1,2\n")),
    BadInput("Texts", "a column that the table lacks",
             _with_data("t.csv", "text,b\n1,2\n", "--text-column", "body")),
    BadInput("Texts", "a table of headings alone", _with_data("t.csv", "text\n")),
    BadInput("Texts", "a line that is not JSON", _with_data("t.jsonl", '"fine"\n{"text": \n')),
    BadInput("Texts", "a line of JSON that is a list", _with_data("t.jsonl", "[1, 2]\n")),
    BadInput("Texts", "a field that is a number", _with_data("t.jsonl", '{"text": 7}\n')),
    BadInput("Texts", "JSON nested a hundred thousand deep", _with_data("t.jsonl", _DEEP)),
    BadInput("Texts", "a folder in place of a file", lambda p: [
        *p.prune(data=p.write("d.txt/inside", "x").parent), "--flops", "0.5"]),
    # Models
    BadInput("Models", "a folder that is not there", lambda p: [
        *p.prune(model=p.folder / "none"), "--flops", "0.5"]),
    BadInput("Models", "a folder without a model", lambda p: [
        *p.prune(model=p.write("m/x", "x").parent), "--flops", "0.5"]),
    BadInput("Models", "a file in place of a folder", lambda p: [
        *p.prune(model=p.texts), "--flops", "0.5"]),
    BadInput("Models", "an empty config", _with_model(_write("config.json", ""))),
    BadInput("Models", "a config that is not JSON", _with_model(_write("config.json", "{"))),
    BadInput("Models", "a config that is a list", _with_model(_write("config.json", "[]"))),
    BadInput("Models", "an unknown model type", lambda p: [
        *p.prune(model=p.config(model_type="mine")), "--flops", "0.5"]),
    BadInput("Models", "a negative size in the config", lambda p: [
        *p.prune(model=p.config(hidden_size=-8)), "--flops", "0.5"]),
    BadInput("Models", "another size in the config than in the weights", lambda p: [
        *p.prune(model=p.config(intermediate_size=64)), "--flops", "0.5"]),
    BadInput("Models", "a text where the config has a number", lambda p: [
        *p.prune(model=p.config(num_hidden_layers="two")), "--flops", "0.5"]),
    BadInput("Models", "no weights", _with_model(_remove("model.safetensors"))),
    BadInput("Models", "weights cut short", _with_model(_cut_short)),
    BadInput("Models", "empty weights", _with_model(_write("model.safetensors", ""))),
    BadInput("Models", "a safetensors header of 2^62 bytes", _with_model(_huge_header)),
    BadInput("Models", "pickled weights alone", _with_model(_pickle_only)),
    BadInput("Models", "a weight that is NaN", _with_model(_not_a_number)),
    BadInput("Models", "no tokenizer",
             _with_model(_remove("tokenizer.json", "tokenizer_config.json"))),
    BadInput("Models", "a tokenizer that is not JSON", _with_model(_write("tokenizer.json", "{"))),
    BadInput("Models", "a checkpoint that brings its own code", _code_in_the_checkpoint),
    # Plans
    BadInput("Plans", "a file that is not there", lambda p: [
        *p.prune(), "--plan", p.folder / "none.json"]),
    BadInput("Plans", "not JSON", _with_plan("{")),
    BadInput("Plans", "JSON that is no plan", _with_plan('{"a": 1}')),
    BadInput("Plans", "JSON nested a hundred thousand deep", _with_plan(_DEEP)),
    BadInput("Plans", "a later version", _with_plan(_plan(version=99))),
    BadInput("Plans", "for another type of model", _with_plan(_plan(model_type="gpt2"))),
    BadInput("Plans", "a model type that is a path", _with_plan(_plan(model_type="../x"))),
    BadInput("Plans", "a block that the model lacks", _with_plan(_block("encoder.layer.9.ffn"))),
    BadInput("Plans", "a block named by a path", _with_plan(_block("../../etc/passwd"))),
    BadInput("Plans", "neurons where heads are", _with_plan(_block(kind="neurons"))),
    BadInput("Plans", "another number of heads", _with_plan(_block(count=3))),
    BadInput("Plans", "a head that is not there", _with_plan(_block(kept="0-4"))),
    BadInput("Plans", "a range of a billion heads", _with_plan(_block(kept="0-999999999"))),
    BadInput("Plans", "a count of a trillion", _with_plan(_block(count=10**12, kept=""))),
    BadInput("Plans", "heads named twice", _with_plan(_block(kept="1,1"))),
    BadInput("Plans", "heads in words", _with_plan(_block(kept="all"))),
    # Pruned checkpoints whose plan was tampered with
    BadInput("Checkpoints", "a plan for another type of model", _noted(_plan(model_type="gpt2"))),
    BadInput("Checkpoints", "a plan with a block the model lacks", _noted(_block("embeddings"))),
    BadInput("Checkpoints", "a plan of a trillion heads", _noted(_block(count=10**12, kept=""))),
    BadInput("Checkpoints", "a plan that does not fit the weights", _noted(_block())),
    BadInput("Checkpoints", "a plan that is a text", lambda p: [
        "inspect", p.config(quantization_config={"quant_method": "headsmith", "plan": "all"})]),
    # Budgets and other options
    BadInput("Options", "no budget", _options(), 2),
    BadInput("Options", "two budgets", _options("--flops", "0.5", "--params", "0.5"), 2),
    BadInput("Options", "a budget of nothing", _options("--flops", "0")),
    BadInput("Options", "a budget above the whole", _options("--flops", "1.5")),
    BadInput("Options", "a budget that is no number", _options("--flops", "nan")),
    BadInput("Options", "a budget in words", _options("--flops", "half"), 2),
    BadInput("Options", "a size in words", _options("--size", "small"), 2),
    BadInput("Options", "a size below the embeddings", _options("--size", "1kB")),
    BadInput("Options", "floors above the budget",
             _options("--flops", "0.1", "--min-heads", "4", "--min-neurons", "48")),
    BadInput("Options", "a score that does not exist",
             _options("--flops", "0.5", "--score", "best"), 2),
    BadInput("Options", "a device that is not there",
             _options("--flops", "0.5", "--device", "tpu9"), 2),
    BadInput("Options", "a task head's distribution of a model without a head",
             _options("--flops", "0.5", "--match", "distribution")),
    BadInput("Options", "a command that does not exist", lambda p: ["pruen"], 2),
    # Where to write
    BadInput("Output", "a folder that is not empty", _occupied, 5),
    BadInput("Output", "a file in the way", _a_file_in_the_way, 5),
    BadInput("Output", "--overwrite of a folder that holds no model", lambda p: [
        *_occupied(p), "--overwrite"], 5),
    BadInput("Output", "below a file", lambda p: [
        *p.prune()[:-1], p.write("file", "x") / "out", "--flops", "0.5"], 5),
    # Run records
    BadInput("Run records", "a file that is not there", lambda p: ["report", p.folder / "none"]),
    BadInput("Run records", "not JSON", lambda p: ["report", p.write("headsmith-run.json", "{")]),
    BadInput("Run records", "JSON that is no record", lambda p: [
        "report", p.write("headsmith-run.json", "{}")]),
    BadInput("Run records", "a record without its blocks", lambda p: [
        "report", p.write("headsmith-run.json", '{"format": "headsmith-run", "version": 1}')]),
    # Questions and predictions
    BadInput("Questions", "predictions that are not JSON", _evaluate("{")),
    BadInput("Questions", "predictions that are numbers", _evaluate('{"q": 7}')),
    BadInput("Questions", "questions that are not JSON", _evaluate('{"q": "x"}', "{")),
    BadInput("Questions", "a question that is nested too deep", _evaluate('{"q": "x"}', _DEEP)),
    BadInput("Questions", "no question in the file", _evaluate('{"q": "x"}', "\n")),
    BadInput("Questions", "a context that is a number", lambda p: [
        "qa", "evaluate", p.write("p.json", '{"q": "x"}'),
        p.write("d.jsonl", _of_question(context=3)), "--bad", "refuse"]),
    BadInput("Questions", "an answer that the context lacks", lambda p: [
        "qa", "evaluate", p.write("p.json", '{"q": "x"}'),
        p.write("d.jsonl", _of_question(answers=[{"text": "dog", "answer_start": 0}])),
        "--bad", "refuse"]),
    BadInput("Questions", "a model that is no QA model", lambda p: [
        "qa", "predict", p.encoder, "--question", "Who?", "--context", "The cat."]),
    # Source trees
    BadInput("Sources", "a path that is not there", lambda p: ["migrate", p.folder / "none"]),
]  # fmt: skip
