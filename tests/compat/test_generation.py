"""How models of Transformers 4 are called by `generate`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import BertConfig

from headsmith.compat.config_attributes import handed_on

Write = Callable[[str], ModuleType]

SOURCE = """
from torch import nn
from transformers import BertConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import Conv1D, PreTrainedModel

class Model(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.called = []
        self.init_weights()

    def get_input_embeddings(self):
        return self.words

    def prepare_inputs_for_generation(
        self, input_ids, inputs_embeds=None, attention_mask=None{places}, **kwargs
    ):
        self.called.append((input_ids.clone(), attention_mask))
        first = len(self.called) == 1 and inputs_embeds is not None
        given = {{"inputs_embeds": inputs_embeds}} if first else {{"input_ids": input_ids}}
        return {{**given, "attention_mask": attention_mask}}

    def forward(
        self, input_ids=None, inputs_embeds=None, attention_mask=None, return_dict=None, **kwargs
    ):
        if inputs_embeds is None:
            inputs_embeds = self.words(input_ids)
        logits = inputs_embeds @ self.words.weight.T
        return CausalLMOutput(logits=logits.roll(1, -1))  # after each word the next one

    def _prepare_encoder_decoder_kwargs_for_generation(
        self, inputs_tensor, model_kwargs, model_input_name=None
    ):
        return {{**model_kwargs, "encoder_outputs": inputs_tensor * 2, "of": model_input_name}}
"""


def _build(write_module: Write, places: str = "", source: str = SOURCE) -> Any:
    config = BertConfig(
        vocab_size=9, hidden_size=9, num_hidden_layers=1, num_attention_heads=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=8,
    )  # fmt: skip
    model = write_module(source.format(places=places)).Model(config).eval()
    with torch.no_grad():
        model.words.weight.copy_(torch.eye(9))
    return model


@pytest.mark.usefixtures("restored")
def test_what_follows_embeddings_begins_with_a_token(write_module: Write) -> None:
    model = _build(write_module)
    prompt = model.words(torch.tensor([[2, 3, 4], [2, 3, 3]])).detach()
    made = model.generate(inputs_embeds=prompt, max_length=3, do_sample=False)
    assert made.tolist() == [[1, 5, 6], [1, 4, 5]]
    # The token stands for nothing: the mask is as long as what has been read.
    assert [tuple(m.shape) for _, m in model.called] == [(2, 3), (2, 4)]


@pytest.mark.usefixtures("restored")
def test_where_places_are_told_nothing_comes_first(write_module: Write) -> None:
    model = _build(write_module, places=", cache_position=None")
    prompt = model.words(torch.tensor([[2, 3, 4]])).detach()
    made = model.generate(inputs_embeds=prompt, max_length=2, do_sample=False)
    assert made.tolist() == [[5, 6]]


@pytest.mark.usefixtures("restored")
def test_padding_is_penalised_with_the_rest(write_module: Write) -> None:
    model = _build(write_module)
    config, _ = model._prepare_generation_config(None, repetition_penalty=2.0)
    (penalty,) = model._get_logits_processor(
        config,
        input_ids_seq_length=3,
        model_kwargs={"attention_mask": torch.tensor([[0, 0, 1]])},
    )
    scores = penalty(torch.tensor([[0, 0, 5]]), torch.ones(1, 9))
    assert scores.tolist() == [[0.5, 1, 1, 1, 1, 0.5, 1, 1, 1]]


@pytest.mark.usefixtures("restored")
def test_a_beam_search_gives_hidden_states(write_module: Write) -> None:
    model = _build(write_module)
    states = torch.arange(9.0).reshape(1, 1, 9)
    forward = model.forward

    def telling(*args: Any, output_hidden_states: bool = False, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        if output_hidden_states:
            out["hidden_states"] = (states,)
        return out

    model.forward = telling
    found = model.generate(
        torch.tensor([[1, 2]]), num_beams=2, max_length=4, do_sample=False,
        return_dict_in_generate=True, output_hidden_states=True,
    )  # fmt: skip
    assert len(found.hidden_states) == 2
    assert found.hidden_states[0][0] is states
    assert found.attentions in (None, (None, None))


@pytest.mark.usefixtures("restored")
def test_a_class_runs_its_encoder_its_own_way(write_module: Write) -> None:
    from headsmith.compat.generation import _called_as_before

    model = _build(write_module)
    given = {"patch": 1, "cache_position": 2}
    with _called_as_before(model):
        made = model._prepare_text_encoder_decoder_kwargs_for_generation(
            inputs_tensor=torch.tensor([3]),
            model_kwargs=given,
            model_input_name="pixels",
            generation_config=None,
        )
    assert made == {"patch": 1, "encoder_outputs": torch.tensor([6]), "of": "pixels"}
    assert "_prepare_text_encoder_decoder_kwargs_for_generation" not in vars(model)


@pytest.mark.usefixtures("restored")
def test_loops_of_ones_own_import_what_they_need() -> None:
    from transformers.generation.beam_search import BeamScorer, ConstrainedBeamSearchScorer
    from transformers.generation.logits_process import HammingDiversityLogitsProcessor

    assert issubclass(ConstrainedBeamSearchScorer, BeamScorer)
    diverse = HammingDiversityLogitsProcessor(0.5, num_beams=4, num_beam_groups=2)
    chosen = torch.tensor([1, 1, 0, 0, 2, 0, 0, 0])  # two prompts; their first groups are done
    ids = torch.zeros(4, 1)
    assert diverse(ids, torch.zeros(4, 3), chosen, 0).tolist() == [[0, 0, 0]] * 4
    scores = diverse(ids, torch.zeros(4, 3), chosen, 1)
    assert scores.tolist() == [[0, -1, 0], [0, -1, 0], [-0.5, 0, -0.5], [-0.5, 0, -0.5]]


@pytest.mark.needs_v5("4.57 has constraints of its own")
@pytest.mark.usefixtures("restored")
def test_a_search_with_constraints_is_refused() -> None:
    from transformers import PhrasalConstraint
    from transformers.generation import BeamSearchScorer
    from transformers.generation.beam_constraints import Constraint

    from headsmith.compat import beam_search

    assert isinstance(type("Own", (Constraint,), {})(), Constraint)
    assert BeamSearchScorer is beam_search.BeamSearchScorer
    with pytest.raises(NotImplementedError, match="Received: PhrasalConstraint"):
        PhrasalConstraint([1, 2])


@pytest.mark.needs_v5("4.57 keeps these settings in the configuration")
def test_settings_that_a_configuration_class_hands_to_its_base(write_module: Write) -> None:
    """BART's of 4.34 did so, and its forks do: texts end with the token that is forced."""
    own = """
class Config(BertConfig):
    def __init__(self, forced_eos_token_id=3, max_length=6, num_beams=1, **kwargs):
        super().__init__(
            forced_eos_token_id=forced_eos_token_id, max_length=max_length, num_beams=num_beams,
            **kwargs,
        )

"""
    source = SOURCE.format(places="").replace("\nclass Model", own + "\nclass Model")
    module = write_module(source.replace("config_class = BertConfig", "config_class = Config"))
    config = module.Config(
        vocab_size=9, hidden_size=9, num_hidden_layers=1, num_attention_heads=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=8,
    )  # fmt: skip
    model = module.Model(config).eval()
    with torch.no_grad():
        model.words.weight.copy_(torch.eye(9))
    assert handed_on(config) == {"forced_eos_token_id": 3, "max_length": 6}
    assert model.generate(torch.tensor([[4]]), do_sample=False).tolist() == [[4, 5, 6, 7, 8]]
    told = model.generate(torch.tensor([[4]]), do_sample=False, max_length=4)
    assert told.tolist() == [[4, 5, 6, 3]]
    model.generation_config.forced_eos_token_id = 7  # what is set there counts
    told = model.generate(torch.tensor([[4]]), do_sample=False, max_length=4)
    assert told.tolist() == [[4, 5, 6, 7]]
    assert handed_on(BertConfig()) == {}


UPDATING = """
    def _update_model_kwargs_for_generation(
        self, outputs, model_kwargs, is_encoder_decoder=False, standardize_cache_format=False
    ):
        model_kwargs["past_key_values"] = self._extract_past_from_model_output(outputs)
        if "attention_mask" in model_kwargs:
            mask = model_kwargs["attention_mask"]
            one = mask.new_ones((mask.shape[0], 1))
            model_kwargs["attention_mask"] = torch.cat([mask, one], dim=-1)
        if "position_ids" in model_kwargs:
            places = model_kwargs["position_ids"]
            model_kwargs["position_ids"] = torch.cat([places, places[..., -1:] + 1], dim=-1)
        return model_kwargs
"""


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("beams", [1, 2])
def test_a_class_that_goes_on_in_its_own_way(write_module: Write, beams: int) -> None:
    source = SOURCE.replace("return_dict=None, **kwargs", "return_dict=None, position_ids=None")
    model = _build(write_module, source="import torch\n" + source + UPDATING)
    ids = torch.tensor([[2, 3], [4, 5]])
    made = model.generate(ids, max_length=4, num_beams=beams, do_sample=False)
    assert made.tolist() == [[2, 3, 4, 5], [4, 5, 6, 7]]
    assert [m.shape[1] for _, m in model.called] == [2, 3]
    model.called.clear()
    mask = torch.tensor([[0, 1], [1, 1]])
    model.generate(ids, attention_mask=mask, max_length=4, do_sample=False)
    assert [m[0].tolist() for _, m in model.called] == [[0, 1], [0, 1, 1]]
