"""`generate` for model classes that prepare inputs for it and keep their cache in tuples.

Transformers 4 gave every model `generate`, and handed back to the model, step by step, whatever
the model had returned as its cache. `generate` of today makes a Cache object first, drops a mask
that masks nothing, and hands over arguments that older code does not know.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from headsmith.compat.beam_search import BeamSearchScorer, search
from headsmith.compat.config_attributes import handed_on

if TYPE_CHECKING:  # its signatures change from version to version
    GenerationConfig: Any
    GenerationMixin = object
else:
    from transformers.generation import GenerationConfig, GenerationMixin

__all__ = ["LegacyGenerationMixin"]

# Told to prepare_inputs_for_generation by Transformers 5, unknown to older code, which forwards
# what it does not know.
_NEW_ARGUMENTS = ("next_sequence_length", "is_first_iteration", "cache_position", "logits_to_keep")
_ENCODES = "_prepare_encoder_decoder_kwargs_for_generation"
_ENCODES_IN_5 = "_prepare_text_encoder_decoder_kwargs_for_generation"
_RETURNED = ("output_attentions", "output_hidden_states")


_logger = logging.getLogger(__name__)


class LegacyGenerationMixin(GenerationMixin):
    """Generation that leaves the cache to the model, as Transformers 4 did."""

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Generate, calling the model's own methods as Transformers 4 called them."""
        with _called_as_before(self):
            return super().generate(*args, **kwargs)  # type: ignore[misc]

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def _prepare_cache_for_generation(self, *_: Any, **__: Any) -> None:
        """No cache to begin with: the model makes its own."""

    def _prepare_position_ids_for_generation(self, *_: Any, **__: Any) -> None:
        """No positions either: `prepare_inputs_for_generation` makes them of the mask."""

    def _maybe_initialize_input_ids_for_generation(
        self: Any, inputs: Any = None, bos_token_id: Any = None, model_kwargs: Any = None
    ) -> Any:
        # What follows embeddings began with a token, until the time of `cache_position`.
        prompt = (model_kwargs or {}).get("inputs_embeds")
        start = None if bos_token_id is None else int(bos_token_id)
        if inputs is not None or prompt is None or start is None or _takes_places(self):
            return super()._maybe_initialize_input_ids_for_generation(  # type: ignore[misc]
                inputs, bos_token_id, model_kwargs
            )
        return torch.full((prompt.shape[0], 1), start, dtype=torch.long, device=prompt.device)

    def _prepare_attention_mask_for_generation(
        self: Any, inputs_tensor: Any, *args: Any, **kwargs: Any
    ) -> Any:
        # Later versions look at the first token instead, where there is one beside embeddings.
        if inputs_tensor.ndim > 2:
            return inputs_tensor.new_ones(inputs_tensor.shape[:2], dtype=torch.long)
        return super()._prepare_attention_mask_for_generation(  # type: ignore[misc]
            inputs_tensor, *args, **kwargs
        )

    def _get_logits_processor(self: Any, *args: Any, **kwargs: Any) -> Any:
        processors = super()._get_logits_processor(*args, **kwargs)  # type: ignore[misc]
        given = kwargs.get("logits_processor") or ()
        for processor in processors:
            ignored = getattr(processor, "prompt_ignore_length", None)
            if isinstance(ignored, Tensor) and not any(processor is g for g in given):
                processor.prompt_ignore_length = None  # padding counted as text
        return processors

    def _prepare_generated_length(
        self: Any, generation_config: Any, *_: Any, input_ids_length: int, **__: Any
    ) -> Any:
        # `max_length` was 20 by default and counted tokens, the prompt's too and never embeddings.
        if generation_config.max_new_tokens is not None:
            generation_config.max_length = generation_config.max_new_tokens + input_ids_length
        elif generation_config.max_length is None:
            generation_config.max_length = 20
        return generation_config

    def _validate_generated_length(
        self: Any, generation_config: Any, input_ids_length: int, *_: Any
    ) -> None:
        if input_ids_length < generation_config.max_length:
            return
        _logger.warning(
            "The prompt has %d tokens and max_length is %d: one token is generated.",
            input_ids_length,
            generation_config.max_length,
        )

    def _prefill(
        self: Any, input_ids: Any, generation_config: Any, model_kwargs: Any, *_: Any, **__: Any
    ) -> Any:
        inputs = self.prepare_inputs_for_generation(input_ids, **model_kwargs)
        return self(**inputs, return_dict=True)

    def _prepare_generation_config(
        self: Any, generation_config: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        # Settings in the configuration of the model count, as they did.
        own: dict[str, Any] = getattr(self.config, "_get_generation_parameters", dict)()
        if generation_config is None and _refuses_settings():
            given = self.generation_config
            handed = {
                n: v for n, v in handed_on(self.config).items() if getattr(given, n, 0) is None
            }
            if own:
                generation_config = GenerationConfig(**{**handed, **own})
            elif handed:
                generation_config = copy.deepcopy(given)
                generation_config.update(**handed)
        return super()._prepare_generation_config(  # type: ignore[misc]
            generation_config, *args, **kwargs
        )

    def _beam_search(
        self: Any,
        input_ids: Any,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Search as 4.34 did, where other texts win than today."""
        if synced_gpus or generation_config.low_memory:
            return super()._beam_search(  # type: ignore[misc]
                input_ids, logits_processor, stopping_criteria, generation_config,
                synced_gpus=synced_gpus, **kwargs,
            )  # fmt: skip
        told = bool(generation_config.return_dict_in_generate)
        scored = told and bool(generation_config.output_scores)
        for name in _RETURNED:  # handed to the model as well, where they are asked for
            kwargs.pop(name, None)
        found, kept = search(
            self,
            input_ids,
            BeamSearchScorer(
                batch_size=input_ids.shape[0] // generation_config.num_beams,
                num_beams=generation_config.num_beams,
                device=input_ids.device,
                length_penalty=generation_config.length_penalty,
                do_early_stopping=generation_config.early_stopping,
                num_beam_hyps_to_keep=generation_config.num_return_sequences,
                max_length=generation_config.max_length,
            ),
            logits_processor,
            stopping_criteria,
            pad_token_id=generation_config._pad_token_tensor,
            eos_token_id=generation_config._eos_token_tensor,
            do_sample=generation_config.do_sample,
            output_scores=scored,
            output_attentions=told and bool(generation_config.output_attentions),
            output_hidden_states=told and bool(generation_config.output_hidden_states),
            **kwargs,
        )
        if not told:
            return found["sequences"]
        return _beam_output(self, found, kept, kwargs, scored=scored)

    def _extract_past_from_model_output(
        self, outputs: Any, standardize_cache_format: bool = False
    ) -> Any:
        # Asked by classes with an `_update_model_kwargs_for_generation` of their own.
        return next(
            (
                outputs[n]
                for n in ("past_key_values", "mems", "past_buckets_states")
                if n in outputs
            ),
            None,
        )

    def _update_model_kwargs_for_generation(
        self,
        outputs: Any,
        model_kwargs: dict[str, Any],
        is_encoder_decoder: bool = False,
        standardize_cache_format: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if hasattr(super(), "_get_initial_cache_position"):
            # Up to 5.0 these are counted on; what the model is given are `_places`.
            model_kwargs.setdefault("cache_position", torch.zeros(1, dtype=torch.long))
        updated: dict[str, Any] = super()._update_model_kwargs_for_generation(  # type: ignore[misc]
            outputs, model_kwargs, is_encoder_decoder=is_encoder_decoder, **kwargs
        )
        return updated


_UPDATE = LegacyGenerationMixin._update_model_kwargs_for_generation


def _beam_output(
    model: Any, found: Any, kept: dict[str, Any], kwargs: dict[str, Any], *, scored: bool
) -> Any:
    """What a search with `return_dict_in_generate` gives."""
    from transformers.generation.utils import (
        GenerateBeamDecoderOnlyOutput,
        GenerateBeamEncoderDecoderOutput,
    )

    steps = {
        name: tuple(step[name] for step in kept["outputs"])
        for name in kept["outputs"][0]
        if not name.startswith("encoder_")
    }
    common: dict[str, Any] = {
        "sequences": found["sequences"],
        "sequences_scores": found["sequence_scores"] if scored else None,
        "scores": kept["scores"],
        "beam_indices": found["beam_indices"],
        "past_key_values": kept["past_key_values"],
    }
    if not model.config.is_encoder_decoder:
        taken: dict[str, Any] = {n: steps.get(n) for n in ("attentions", "hidden_states")}
        return GenerateBeamDecoderOnlyOutput(**common, **taken)
    encoded = kwargs["encoder_outputs"]
    common |= {f"encoder_{n}": encoded.get(n) for n in ("attentions", "hidden_states")}
    common |= {
        n: steps.get(n) for n in ("decoder_attentions", "cross_attentions", "decoder_hidden_states")
    }
    return GenerateBeamEncoderDecoderOutput(**common)


def _refuses_settings() -> bool:
    from transformers import PretrainedConfig

    return not hasattr(PretrainedConfig, "_get_non_default_generation_parameters")


@contextmanager
def _called_as_before(model: Any) -> Iterator[None]:
    """Put adapters before the methods of this one model that `generate` calls."""
    held = vars(model)
    masks: list[Any] = []
    adapters = {"prepare_inputs_for_generation": _preparing(model, masks)}
    if type(model)._update_model_kwargs_for_generation is not _UPDATE:
        adapters["_update_model_kwargs_for_generation"] = _updating(model, masks)
    if hasattr(model, "_reorder_cache"):
        adapters["_reorder_cache"] = _reordering(model)
    if getattr(type(model), _ENCODES, None) is not getattr(GenerationMixin, _ENCODES, None):
        adapters |= dict.fromkeys((_ENCODES, _ENCODES_IN_5), _encoding(model))
    before = {name: held[name] for name in adapters if name in held}
    held.update(adapters)
    try:
        yield
    finally:
        for name in adapters:
            held.pop(name, None)
        held.update(before)


def _preparing(model: Any, masks: list[Any]) -> Any:
    prepare = model.prepare_inputs_for_generation
    takes_places = _takes_places(model)
    takes_mask = "attention_mask" in inspect.signature(model.forward).parameters

    prompted: list[int] = []  # tokens there were before embeddings were run

    @functools.wraps(prepare)
    def adapter(input_ids: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not prompted:
            prompted.append(input_ids.shape[1])
        for name in _NEW_ARGUMENTS:
            kwargs.pop(name, None)
        if takes_places:
            kwargs["cache_position"] = _places(input_ids, kwargs)
        if kwargs.get("position_ids", ...) is None:
            del kwargs["position_ids"]
        wants_mask = takes_mask and not model.config.is_encoder_decoder
        if wants_mask and kwargs.get("attention_mask") is None:
            # Dropped because it masks nothing; code of that time may expect one.
            prompt = kwargs.get("inputs_embeds")
            length = input_ids.shape[1]
            length += 0 if prompt is None else prompt.shape[1] - prompted[0]
            kwargs["attention_mask"] = input_ids.new_ones((input_ids.shape[0], length))
            masks[:] = [kwargs["attention_mask"]]
        inputs: dict[str, Any] = prepare(input_ids, *args, **kwargs)
        for name in _RETURNED:
            if kwargs.get(name):
                inputs.setdefault(name, kwargs[name])
        return inputs

    return adapter


def _updating(model: Any, masks: list[Any]) -> Any:
    """A class's own way to go on after a token, which counts on masks and on no empty positions."""
    update = model._update_model_kwargs_for_generation

    @functools.wraps(update)
    def adapter(outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        told = {n: v for n, v in model_kwargs.items() if n != "position_ids" or v is not None}
        if told.get("attention_mask", ...) is None and masks:
            told["attention_mask"] = masks[0]
        return update(outputs, told, *args, **kwargs)

    return adapter


def _takes_places(model: Any) -> bool:
    """Whether a class is of 4.38 or later, which told models the places of their tokens."""
    prepare = model.prepare_inputs_for_generation
    return "cache_position" in inspect.signature(prepare).parameters


def _encoding(model: Any) -> Any:
    """A class's own way to run the encoder, which Transformers 5 calls by another name."""
    encode = getattr(model, _ENCODES)
    known = len(inspect.signature(encode).parameters)

    @functools.wraps(encode)
    def adapter(
        inputs_tensor: Any,
        model_kwargs: Any,
        model_input_name: Any = None,
        generation_config: Any = None,
    ) -> Any:
        told = {n: v for n, v in model_kwargs.items() if n not in _NEW_ARGUMENTS}
        return encode(*(inputs_tensor, told, model_input_name, generation_config)[:known])

    return adapter


def _places(input_ids: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The positions of the tokens that are not cached yet, which 4.4x to 4.57 handed over."""
    past, prompt = kwargs.get("past_key_values"), kwargs.get("inputs_embeds")
    seen = 0
    if isinstance(past, Cache):
        seen = int(past.get_seq_length())
    elif past:
        seen = past[0][0].shape[-2]
    count = input_ids.shape[1] + (0 if prompt is None else prompt.shape[1])
    return torch.arange(seen, max(count, seen + 1), device=input_ids.device)


def _reordering(model: Any) -> Any:
    reorder = model._reorder_cache

    @functools.wraps(reorder)
    def adapter(past: Any, beam_idx: Any, *args: Any, **kwargs: Any) -> Any:
        if past is None:  # use_cache=False, told by a class of its own accord
            return None
        if isinstance(past, Cache):  # a native model inside keeps one
            past.reorder_cache(beam_idx)
            return past
        return reorder(past, beam_idx, *args, **kwargs)

    return adapter
