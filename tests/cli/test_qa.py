"""The commands of `headsmith qa`, from a SQuAD file to scored answers."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

CONTEXTS = [
    "The cat sleeps on the warm stone wall. A small boat drifts across the quiet lake.",
    "The baker sells fresh bread every morning. The train leaves the station at seven.",
    "A farmer drives his cows to the field. The bell rings and the children run.",
]
ASKED = [
    ("The cat", "What sleeps on the wall", "What drifts across the lake", "A small boat"),
    ("fresh bread", "What sells the baker every morning", "The train leaves at", "seven"),
    ("his cows", "A farmer drives to the field", "What rings", "The bell"),
]


def document(extra=()):
    paragraphs = []
    for number, (context, (a1, q1, q2, a2)) in enumerate(zip(CONTEXTS, ASKED, strict=True)):
        qas = [
            {
                "id": f"{number}-{place}",
                "question": question,
                "answers": [{"text": text, "answer_start": context.index(text)}],
                "is_impossible": False,
            }
            for place, (question, text) in enumerate(((q1, a1), (q2, a2)))
        ]
        qas.append({"id": f"{number}-n", "question": "Who", "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    paragraphs += extra
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("qa") / "data.json"
    bad = {
        "context": "The cat.",
        "qas": [
            {"id": "bad-1", "question": "Who"},
            {"id": "bad-2", "question": "Who", "answers": [{"text": "dog", "answer_start": 0}]},
        ],
    }
    path.write_text(json.dumps(document([bad])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def encoder(tiny_encoder, tmp_path_factory):
    """The tiny encoder with a tokenizer that adds CLS and SEP."""
    import shutil

    from tokenizers import processors
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("qa") / "encoder"
    shutil.copytree(tiny_encoder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(encoder, data, tmp_path_factory):
    """A model that `qa train` wrote, with what it printed."""
    from headsmith.cli.main import run

    out = tmp_path_factory.mktemp("qa") / "reader"
    words = ["qa", "train", encoder, "--data", data, "--eval", data, "-o", out, "--cpu"]
    words += ["--epochs", 3, "--batch-size", 4, "--max-length", 32, "--stride", 8]
    assert run([str(w) for w in [*words, "--quiet"]]) == 0
    return out


def test_train_writes_a_model_a_record_and_a_page(trained):
    names = {p.name for p in trained.iterdir()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "qa_head.safetensors",
        "headsmith-qa.json",
        "headsmith-run.json",
        "predictions.json",
        "report.html",
        "tokenizer.json",
    }
    record = json.loads((trained / "headsmith-run.json").read_text())
    assert record["format"] == "headsmith-qa-run"
    assert record["data"]["skipped"] == 2
    assert record["scores"]["total"] == 9
    assert len(record["losses"]) == record["losses"][-1][0]
    page = (trained / "report.html").read_text()
    assert "loss-title" in page
    assert "threshold-title" in page
    assert not trained.with_name("reader.training").exists()


def test_train_names_what_it_skips(headsmith, encoder, data, tmp_path):
    answer = headsmith(
        "qa", "train", encoder, "--data", data, "-o", tmp_path / "x", "--bad", "refuse"
    )
    assert answer.code == 3
    assert "Question bad-1: it has no field 'answers'" in answer.err
    empty = tmp_path / "empty.json"
    empty.write_text('{"data": []}', encoding="utf-8")
    answer = headsmith("qa", "train", encoder, "--data", empty, "-o", tmp_path / "x")
    assert answer.code == 3
    assert "holds no question that can be used" in answer.err


def test_train_leaves_the_state_of_another_run_alone(headsmith, encoder, data, tmp_path):
    state = tmp_path / "out.training" / "step-000001"
    state.mkdir(parents=True)
    answer = headsmith("qa", "train", encoder, "--data", data, "-o", tmp_path / "out", "--cpu")
    assert answer.code == 5
    assert "Take it up with --resume" in answer.err


def test_predict_one_question(headsmith, trained):
    asked = ("--question", "What sleeps", "--context", CONTEXTS[0])
    answer = headsmith("qa", "predict", trained, *asked, "--always-answer")
    assert answer.code == 0
    assert "P(no answer)" in answer.out
    answer = headsmith("qa", "predict", trained, *asked, "--always-answer", "--format", "json")
    found = json.loads(answer.out)
    best = found["nbest"][0]
    assert CONTEXTS[0][best["start"] : best["end"]] == best["text"] == found["answer"]
    answer = headsmith("qa", "predict", trained, *asked, "--threshold", "-1e9", "--quiet")
    assert answer.out == "\n"


def test_predict_reads_a_context_from_a_file(headsmith, trained, tmp_path):
    path = tmp_path / "page.txt"
    path.write_text(CONTEXTS[1] * 30, encoding="utf-8")
    asked = ("--question", "What sells the baker", "--context", f"@{path}", "--always-answer")
    answer = headsmith("qa", "predict", trained, *asked, "--quiet")
    assert answer.code == 0
    assert answer.out.strip() in path.read_text()
    asked = ("--question", "What", "--context", f"@{path}x")
    assert headsmith("qa", "predict", trained, *asked).code == 3


def test_predict_then_evaluate(headsmith, trained, data, tmp_path):
    out, scores, each = (tmp_path / n for n in ("p.json", "s.json", "each.jsonl"))
    more = ("--no-answer-scores", scores, "--always-answer")
    answer = headsmith("qa", "predict", trained, "--data", data, "-o", out, *more)
    assert answer.code == 0, answer.err
    assert len(json.loads(out.read_text())) == 11  # labels are not needed to answer
    again = headsmith("qa", "predict", trained, "--data", data, "-o", out)
    assert again.code == 5
    answer = headsmith(
        "qa", "evaluate", out, data, "--no-answer-scores", scores, "--per-question", each,
        "--threshold", "1e9", "--format", "json",
    )  # fmt: skip
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["total"] == 9
    assert found["skipped"] == {"no answers": 1, "answer not in context": 1}
    assert found["best_f1"] >= found["f1"]
    lines = [json.loads(line) for line in each.read_text().splitlines()]
    assert sum(line["exact"] for line in lines) / 9 * 100 == pytest.approx(found["exact"])
    human = headsmith("qa", "evaluate", out, data)
    assert "with an answer" in human.out
    assert "2 records were skipped" in human.err
    assert headsmith("qa", "evaluate", out, data, "--quiet").out.count(" ") == 1


def test_a_stream_of_lines(headsmith, trained, monkeypatch, data, tmp_path):
    lines = [
        json.dumps({"id": "a", "question": "What sleeps", "context": CONTEXTS[0]}),
        "{broken",
        json.dumps({"question": "What rings", "context": CONTEXTS[2]}),
        json.dumps({"id": "c", "question": "What", "context": " "}),
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    answer = headsmith("qa", "predict", trained, "--data", "-", "--n-best", "2", "--format", "json")
    assert answer.code == 0
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert [f["id"] for f in found] == ["a", "line 3"]
    assert all(len(f["nbest"]) <= 2 for f in found)
    told = json.loads(answer.err.splitlines()[-1])["warning"]
    assert "1 not JSON (line 2)" in told
    assert "1 empty context (c)" in told
    # What it printed can be evaluated.
    path = tmp_path / "answers.jsonl"
    path.write_text(answer.out, encoding="utf-8")
    assert headsmith("qa", "evaluate", path, data).code == 0


def test_a_line_is_answered_before_the_next_comes(trained):
    program = "import sys; from headsmith.cli.main import run; sys.exit(run(sys.argv[1:]))"
    words = ["qa", "predict", str(trained), "--data", "-", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for name in ("one", "two"):
        record = {"id": name, "question": "What sleeps", "context": CONTEXTS[0]}
        process.stdin.write(json.dumps(record) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == name
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()


@pytest.mark.parametrize("command", ["train", "refit"])
def test_nothing_of_the_users_is_replaced(headsmith, encoder, data, tmp_path, command):
    (tmp_path / "mine.txt").write_text("precious")
    for out, message in ((tmp_path, "holds no model"), (encoder, "is the model itself")):
        answer = headsmith("qa", command, encoder, "--data", data, "-o", out, "--overwrite")
        assert (answer.code, message in answer.err) == (5, True), answer.err
    assert (tmp_path / "mine.txt").exists()


def test_refit_writes_a_calibrated_model(headsmith, trained, data, tmp_path):
    out = tmp_path / "refit"
    answer = headsmith(
        "qa", "refit", trained, "--data", data, "-o", out, "--calibrate-only", "--format", "json"
    )
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["calibration"]["questions"] == 9
    settings = json.loads((out / "headsmith-qa.json").read_text())
    assert settings["calibration"]["questions"] == 9
    assert headsmith("qa", "predict", out, "--question", "What", "--context", "The cat.").code == 0


def test_a_qa_model_is_pruned_by_its_own_loss(headsmith, trained, data, tmp_path):
    out = tmp_path / "smaller"
    words = ("--flops", "0.6", "-o", out, "--no-time", "--length", "16", "--batch-size", "4")
    answer = headsmith("prune", trained, "--data", data, *words, "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)["run"]
    assert found["settings"]["match"] == "loss"
    assert found["model_class"] == "QAModel"
    assert found["after"]["flops"] < found["before"]["flops"]
    assert "QAModel.from_pretrained" in (out / "report.html").read_text()
    asked = ("--question", "What sleeps", "--context", CONTEXTS[0])
    assert headsmith("qa", "predict", out, *asked).code == 0
    assert headsmith("inspect", out, "--data", data, "--batch-size", "4").code == 0
    assert headsmith("prune", trained, "--data", data, *words, "--match", "hidden").code in (3, 5)


def test_the_page_is_drawn_again(headsmith, trained, tmp_path):
    page = tmp_path / "again.html"
    answer = headsmith("report", trained, "-o", page)
    assert answer.code == 0
    assert "Exact match" in answer.out
    assert page.read_text() == (trained / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not valid JSON"),
        ("[1]", "expected a JSON object, id → text"),
        ('{"a": 3}', "the prediction of 'a' is no text"),
        ('{"id": "a", "answer": 3}', "expected an object with 'id' and 'answer'"),
    ],
)
def test_predictions_that_cannot_be_read(headsmith, data, tmp_path, text, message):
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    answer = headsmith("qa", "evaluate", path, data)
    assert answer.code == 3
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_files_that_cannot_be_written_are_told_before_the_work(headsmith, data, tmp_path):
    none, there = tmp_path / "none", tmp_path / "p.json"
    for option in ("-o", "--no-answer-scores"):
        answer = headsmith("qa", "predict", none, "--data", data, option, none / "p.json")
        assert answer.code == 5, answer.err
        assert "Make it, or choose another file" in answer.err
    answer = headsmith(
        "qa", "predict", none, "--data", data, "-o", there, "--no-answer-scores", there
    )
    assert (answer.code, "files of their own" in answer.err) == (2, True)
    answer = headsmith("qa", "evaluate", there, data, "--per-question", none / "each.jsonl")
    assert answer.code == 5, answer.err


def test_predictions_of_lines_that_hold_other_ends_of_lines(headsmith, data, tmp_path):
    path = tmp_path / "p.jsonl"
    answers = {"0-0": "The\u2028cat", "0-1": "A small\x85boat"}
    lines = [{"id": name, "answer": text} for name, text in answers.items()]
    path.write_text("\n".join(json.dumps(x, ensure_ascii=False) for x in lines), encoding="utf-8")
    answer = headsmith("qa", "evaluate", path, data, "--format", "json")
    assert (answer.code, json.loads(answer.out)["HasAns_exact"]) == (0, 100.0)


def test_scores_are_numbers_that_a_float_can_hold(headsmith, data, tmp_path):
    predictions, scores = tmp_path / "p.json", tmp_path / "s.json"
    predictions.write_text('{"0-0": "The cat"}', encoding="utf-8")
    for value, code in (("3", 0), ("true", 3), ("NaN", 3), ("9" * 400, 3)):
        scores.write_text(f'{{"0-0": {value}}}', encoding="utf-8")
        answer = headsmith("qa", "evaluate", predictions, data, "--no-answer-scores", scores)
        assert answer.code == code, answer.err
        assert code == 0 or "the score of '0-0' is no number" in answer.err


def test_other_input_that_is_wrong(headsmith, data, tiny_encoder, trained, tmp_path):
    assert headsmith("qa", "evaluate", tmp_path / "none.json", data).code == 3
    assert headsmith("qa", "predict", tiny_encoder, "--data", data).code == 3
    assert headsmith("qa", "predict", tmp_path / "none", "--data", data).code == 3
    assert headsmith("qa", "predict", trained).code == 2
    assert headsmith("qa", "predict", trained, "--question", "Who").code == 2
    assert headsmith("qa", "predict", trained, "--data", tmp_path / "none.json").code == 3
    answer = headsmith("qa", "trian")
    assert answer.code == 2
    assert "Did you mean 'train'?" in answer.err
    bad = tmp_path / "bad.json"
    bad.write_text('{"data": 3}', encoding="utf-8")
    answer = headsmith("qa", "predict", trained, "--data", bad)
    assert answer.code == 3
    assert "no SQuAD file" in answer.err


def test_help_needs_no_framework():
    program = (
        "import sys; from headsmith.cli.main import run; run(['qa', '--help']); "
        "run(['qa', 'train', '--help']); run(['qa', 'predict', '--help']); "
        "print(*(m for m in ('torch', 'transformers', 'numpy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == ""


def test_metrics_and_decoding_need_numpy_alone():
    program = (
        "import sys, headsmith.qa.decoding, headsmith.qa.metrics, headsmith.qa.features, "
        "headsmith.qa.no_answer; "
        "print(*(m for m in ('torch', 'transformers') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "", done.stderr
