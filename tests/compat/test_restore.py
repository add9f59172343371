"""Names and methods put back, and everything left as it was."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers
from compat.conftest import before_the_tables
from transformers import BertConfig, BertModel, modeling_utils

from headsmith.compat import is_restored, restore, restored, undo
from headsmith.compat.names import METHODS, NAMES

TINY = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8}  # fmt: skip


def _run(code: str) -> str:
    """Run code in a fresh process; what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_is_answered_and_gone_again(v5: bool) -> None:
    # One fresh process, Transformers imported before: what is there first stays.
    told = _run(
        """
import importlib, json
import transformers
from headsmith.compat import restore, undo
from headsmith.compat.names import NAMES, reexports
places = [(r.module, r.name, r.restored_from) for r in NAMES if r.restored_from]
some = ["bert", "xlnet", "t5", "gpt2", "electra", "audio_spectrogram_transformer"]
for model in some:
    module = f"transformers.models.{model}.modeling_{model}"
    places += [(module, name, place) for name, place in reexports()[module].items()]
def state():
    found = []
    for module, name, place in places:
        if place.startswith("headsmith.keras"):
            continue
        try:
            held = getattr(importlib.import_module(module), name, None)
        except ImportError:
            held = None
        home, _, original = place.partition(":")
        if held is None or before.get((module, name)):
            found.append((module, name, held is not None))  # there already: left as it is
        else:
            ours = getattr(importlib.import_module(home), original)
            found.append((module, name, held is ours))
    return found
def held_now():
    found = {}
    for module, name, _ in places:
        try:
            found[module, name] = hasattr(importlib.import_module(module), name)
        except ImportError:
            found[module, name] = False
    return found
before = held_now()
restore(); during = state(); undo()
after = held_now()
print(json.dumps([list(before.values()), during, list(after.values())]))
"""
    )
    before, during, after = json.loads(told)
    assert [f"{m}.{n}" for m, n, there in during if not there] == []
    assert before == after
    # Some still are in 4.57 and in early 5.
    assert any(before) == (not v5 or before_the_tables())


@pytest.mark.skipif(before_the_tables(), reason="the table is of a later Transformers 5")
def test_the_table_tells_the_truth_of_this_transformers(v5: bool) -> None:
    for row in NAMES:
        if row.module == "transformers.pytorch_utils":
            there = (row.status_5 if v5 else row.status_457) == "ok"
            assert hasattr(importlib.import_module(row.module), row.name) == there, row.name
    base = modeling_utils.PreTrainedModel
    for method in METHODS:
        status = method.status_5 if v5 else method.status_457
        if method.name.isidentifier() and status in ("ok", "gone"):
            assert hasattr(base, method.name) == (status == "ok"), method.name


@pytest.mark.needs_v5("4.57 has the modules; without TensorFlow they do not import")
def test_without_keras_there_are_no_tensorflow_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headsmith.compat.modules.find_spec", lambda name: None)
    with restored(), pytest.raises(ModuleNotFoundError, match="modeling_tf_utils"):
        importlib.import_module("transformers.modeling_tf_utils")


def test_nothing_is_imported_before_it_is_asked_for(v5: bool) -> None:
    told = _run(
        """
import sys
import headsmith.compat.auto
print([name in sys.modules for name in ("torch", "transformers")])
from transformers.modeling_utils import prune_layer
from transformers import prune_layer as top
print(prune_layer is top)
print([m for m in sys.modules if m.startswith("transformers.models.") and "modeling" in m])
"""
    )
    # The one at the top level of 4.57 is its own.
    assert told.splitlines() == ["[False, False]", str(v5), "[]"]


@pytest.mark.needs_v5("4.57 has the modules; without TensorFlow they do not import")
def test_tensorflow_names_wait_for_keras() -> None:
    told = _run(
        """
import sys
import headsmith.compat.auto
import transformers.modeling_tf_utils, transformers.tf_utils
print("keras" in sys.modules, "TFConv1D" in dir(transformers.modeling_tf_utils))
"""
    )
    assert told.splitlines() == ["False True"]


def _classes() -> list[type]:
    return [
        *modeling_utils.PreTrainedModel.__mro__[:-1],
        BertModel,
        transformers.BertForMaskedLM,
        transformers.GPT2LMHeadModel,
        transformers.T5ForConditionalGeneration,
        transformers.GenerationMixin,
        BertConfig,
    ]


def _modules() -> list[str]:
    return [n for n in sys.modules if n == "transformers" or n.startswith("transformers.")]


def test_undo_leaves_modules_and_classes_as_they_were(v5: bool) -> None:
    BertModel(BertConfig(**TINY))  # Transformers keeps notes on a class of its own accord
    _classes()
    modules = {name: dict(vars(sys.modules[name])) for name in _modules()}
    classes = {cls: dict(vars(cls)) for cls in _classes()}
    path = list(sys.meta_path)
    with restore():
        from transformers.modeling_utils import SQuADHead, find_pruneable_heads_and_indices
        from transformers.utils.model_parallel_utils import get_device_map

        assert SQuADHead
        assert find_pruneable_heads_and_indices
        assert get_device_map
        assert sys.meta_path != path
    for name, held in modules.items():
        assert dict(vars(sys.modules[name])) == held, name
    for cls, own in classes.items():
        assert dict(vars(cls)) == own, cls
    assert sys.meta_path == path
    # 4.57 has a module of this name.
    assert ("transformers.utils.model_parallel_utils" in sys.modules) != v5


def test_native_classes_are_the_same_while_restored() -> None:
    """Not one attribute of a native class that was there is another one."""
    classes = _classes()
    before = {
        cls: {name: _told(cls, name) for name in dir(cls) if name != "__dict__"} for cls in classes
    }
    own = {cls: dict(vars(cls)) for cls in classes if cls.__module__ != modeling_utils.__name__}
    bases = {cls: cls.__mro__ for cls in classes}
    with restored():
        for cls in classes:
            for name, value in before[cls].items():
                # Python asks a class for its parents' __init_subclass__; the base classes have
                # one more there, and native classes are not asked.
                if name == "__init_subclass__" and cls in modeling_utils.PreTrainedModel.__mro__:
                    continue
                assert _told(cls, name) == value, (cls, name)
            assert cls.__mro__ == bases[cls]
        for cls, held in own.items():
            assert dict(vars(cls)) == held


def _told(cls: type, name: str) -> Any:
    value = getattr(cls, name, None)
    return getattr(value, "__func__", value) if callable(value) else repr(value)


def test_native_models_give_the_same() -> None:
    def run() -> tuple[torch.Tensor, list[str], dict[str, Any]]:
        torch.manual_seed(0)
        model = transformers.BertForMaskedLM(BertConfig(**TINY)).eval()
        with torch.no_grad():
            logits = model(torch.tensor([[1, 2, 3]])).logits
        return logits, list(vars(model)), model.config.to_dict()

    logits, held, config = run()
    with restored():
        again, held_again, config_again = run()
    assert torch.equal(logits, again)
    assert held == held_again
    assert config == config_again


def test_twice_is_harmless() -> None:
    first = restore()
    try:
        second = restore()
        second.undo()
        assert is_restored()
        with restore():
            pass
        assert is_restored()
    finally:
        first.undo()
    assert not is_restored()
    undo()
    assert not is_restored()


def test_an_unknown_name_is_still_an_error() -> None:
    with restored():
        with pytest.raises(ImportError, match="no_such_name"):
            from transformers.modeling_utils import no_such_name  # noqa: F401
        with pytest.raises(AttributeError, match="no_such_name"):
            transformers.no_such_name  # noqa: B018


def test_a_module_that_answers_by_itself_goes_on_doing_so() -> None:
    with restored():
        from transformers.tokenization_utils import PreTrainedTokenizer, _is_control

        assert PreTrainedTokenizer
        assert _is_control("\x00")


@pytest.mark.needs_v5("native models of 4.57 take a head_mask")
def test_head_mask_for_a_native_model_is_refused() -> None:
    model = BertModel(BertConfig(**TINY)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with restored():
        with pytest.raises(TypeError, match=r"headsmith\.pruning\.head_mask"):
            model(ids, head_mask=torch.ones(2))
        model(ids, head_mask=None)
        model(ids, head_mask=model.get_head_mask(None, 1))
        assert BertModel.__call__ is torch.nn.Module.__call__
    model(ids, head_mask=torch.ones(2))  # Transformers' own affair again


def test_native_models_compile_and_export_as_before() -> None:
    model = BertModel(BertConfig(**TINY)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad(), restored():
        expected = model(ids).last_hidden_state
        compiled = torch.compile(model, backend="eager")
        torch.testing.assert_close(compiled(ids).last_hidden_state, expected)
        exported = torch.export.export(model, (ids,))
        torch.testing.assert_close(exported.module()(ids).last_hidden_state, expected)


def _mask_in_a_graph(model: Any) -> Any:
    return torch.compile(lambda ids, mask: model(ids, head_mask=mask), backend="eager")


@pytest.mark.needs_v5("native models of 4.57 take a head_mask")
def test_head_mask_in_compiled_graphs_is_refused() -> None:
    model = BertModel(BertConfig(**TINY)).eval()
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(2)
    with torch.no_grad():
        early = torch.compile(model, backend="eager")
        early(ids, head_mask=mask)  # Transformers' own affair
        graph = _mask_in_a_graph(model)
        graph(ids, mask)
        expected = model(ids).last_hidden_state
        with restored():
            late = torch.compile(model, backend="eager")
            for compiled in (early, late):
                with pytest.raises(TypeError, match=r"headsmith\.pruning\.head_mask"):
                    compiled(ids, head_mask=mask)
                torch.testing.assert_close(compiled(ids).last_hidden_state, expected)
                compiled(ids, head_mask=None)
            for compiled in (graph, _mask_in_a_graph(model)):
                with pytest.raises(Exception, match="does not take head_mask"):
                    compiled(ids, mask)
                compiled(ids, None)
        early(ids, head_mask=mask)
        graph(ids, mask)
    torch._dynamo.reset()


def test_missing_transformers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from headsmith.errors import MissingExtraError

    monkeypatch.setattr("headsmith.compat.restoration.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"headsmith\[pruning\]"):
        restore()


@pytest.mark.needs_v5("it is there")
def test_names_at_the_top_stay_when_transformers_makes_itself_anew() -> None:
    """`transformers.processing_utils` runs the package's `__init__` a second time."""
    code = """
import sys
import transformers
first = sys.modules["transformers"]
from headsmith.compat import restore, undo
restore()
from transformers import prune_layer
import transformers.models.bert.modeling_bert
import transformers.processing_utils
again = sys.modules["transformers"]
from transformers import InputExample, prune_layer
assert first.prune_layer is prune_layer
undo()
for module in (first, again):
    assert not hasattr(module, "prune_layer")
    assert "__getattr__" not in vars(module) and "__dir__" not in vars(module)
"""
    assert _run(code) == ""
