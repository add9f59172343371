"""One table: names that Transformers dropped or moved, what became of them, what to use instead.

`restore`, `migrate`, `doctor` and the page `docs/migrating.md` all read this table, so that they
cannot disagree. It holds strings only and imports nothing.

Measured on Transformers 4.34.0, 4.57.6 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from headsmith.compat.name_rules import ONNX, SHIMS, Method, by_rule
from headsmith.compat.reexports import REEXPORTS, TOKENIZER_REEXPORTS

__all__ = [
    "GONE_MODULES",
    "METHODS",
    "NAMES",
    "Name",
    "Status",
    "lookup",
    "names_of",
    "reexports",
]

Status = Literal["ok", "moved", "gone", "needs TF"]


@dataclass(frozen=True)
class Name:
    """One name in one old place.

    Args:
        module: the module it was in, such as `"transformers.pytorch_utils"`.
        name: what it is called there.
        status_457: what Transformers 4.57 makes of it: `"ok"`, `"moved"`, `"gone"`, or
            `"needs TF"` (there, but not without TensorFlow and Keras 2).
        status_5: the same for Transformers 5.
        target: `"module:name"` of what does the same and can be written into source code
            instead; empty where there is nothing.
        stand_in: `"module:name"` of what `restore` puts there where that is not the target.
        note: what is to be known, or what to do where there is no target.
    """

    module: str
    name: str
    status_457: Status
    status_5: Status
    target: str = ""
    stand_in: str = ""
    note: str = ""

    @property
    def restored_from(self) -> str:
        """`"module:name"` of the object that `restore` puts in the old place; may be empty."""
        return self.stand_in or self.target


_TORCH = "headsmith.torch"
_KERAS = "headsmith.keras"


def _rows(
    module: str,
    names: str,
    status_457: Status,
    status_5: Status,
    home: str = "",
    stand_in: str = "",
    note: str = "",
) -> Iterator[Name]:
    """One row for each of `names`, which keeps its name in its new home.

    `stand_in` is a module that has the names, or `"module:name"` of what stands for each.
    """
    for name in names.split():
        yield Name(
            f"transformers.{module}".rstrip("."),
            name,
            status_457,
            status_5,
            f"{home}:{name}" if home else "",
            stand_in if ":" in stand_in else f"{stand_in}:{name}" if stand_in else "",
            note,
        )


_PRUNING = "find_pruneable_heads_and_indices prune_conv1d_layer prune_layer"
_SQUAD = "PoolerAnswerClass PoolerEndLogits PoolerStartLogits SQuADHead SquadHeadOutput"
_TF_LOSSES = (
    "TFCausalLanguageModelingLoss TFMaskedLanguageModelingLoss TFMultipleChoiceLoss "
    "TFQuestionAnsweringLoss TFSequenceClassificationLoss TFTokenClassificationLoss"
)
_IMAGE_MODELS = (
    "Beit CLIP ChineseCLIP ConditionalDetr ConvNext DPT DeformableDetr DeiT Detr Donut Flava GLPN "
    "ImageGPT LayoutLMv2 LayoutLMv3 Levit MaskFormer MobileNetV1 MobileNetV2 MobileViT OwlViT "
    "Perceiver PoolFormer Segformer VideoMAE ViT Vilt Yolos"
)
_TF_CHECKS = "is_flax_available is_tf_available"
_TF_FILES = "FLAX_WEIGHTS_NAME TF2_WEIGHTS_NAME TF_WEIGHTS_NAME"
_NO_TF = "Transformers 5 has no TensorFlow and no Flax models: the answer is False"
_ONNX_NOTE = (
    "restored as a class to inherit from, so that copied configurations import; "
    "export with headsmith export or optimum"
)


def _table() -> Iterator[Name]:
    yield from _rows(
        "modeling_utils",
        "Conv1D apply_chunking_to_forward prune_linear_layer",
        "gone",
        "gone",
        "transformers.pytorch_utils",
    )
    yield from _rows("modeling_utils", _PRUNING, "gone", "gone", _TORCH)
    yield from _rows("modeling_utils", f"SequenceSummary {_SQUAD}", "gone", "gone", _TORCH)
    yield from _rows(
        "modeling_utils",
        "no_init_weights",
        "ok",
        "moved",
        "transformers.initialization",
        SHIMS,
        "the new one takes no argument",
    )
    yield from _rows("modeling_utils", "GenerationMixin", "gone", "gone", "transformers.generation")
    yield from _rows("modeling_utils", "get_activation", "gone", "gone", "transformers.activations")
    yield from _rows(
        "modeling_utils", "ModelOutput replace_return_docstrings", "gone", "gone",
        "transformers.utils",
    )  # fmt: skip
    yield from _rows(
        "modeling_utils", "PretrainedConfig", "ok", "gone", "transformers.configuration_utils"
    )
    yield from _rows("modeling_utils", "CONFIG_NAME", "ok", "gone", "transformers.utils")
    yield from _rows(
        "modeling_utils", "get_parameter_device get_parameter_dtype", "ok", "gone", "", SHIMS,
        "read model.device and model.dtype",
    )  # fmt: skip
    yield from _rows("modeling_utils", _TF_FILES, "ok", "gone", "", SHIMS)

    yield from _rows("pytorch_utils", _PRUNING, "ok", "gone", _TORCH)
    yield from _rows(
        "pytorch_utils", "is_torch_less_than_1_11", "gone", "gone", "", SHIMS, "always False now"
    )
    yield from _rows("", "prune_layer", "ok", "gone", _TORCH)
    yield from _rows("", "TFSequenceSummary shape_list", "needs TF", "gone", _KERAS)

    yield from _rows("utils.model_parallel_utils", "assert_device_map get_device_map", "ok",
                     "gone", "headsmith.compat.device_map")  # fmt: skip

    yield from _rows(
        "modeling_tf_utils",
        f"TFConv1D TFSequenceSummary {_TF_LOSSES} get_initializer keras_serializable shape_list",
        "needs TF",
        "gone",
        _KERAS,
        note="Keras 3, any backend",
    )
    yield from _rows("tf_utils", "shape_list", "needs TF", "gone", _KERAS)
    yield Name(
        "transformers.activations_tf",
        "get_tf_activation",
        "needs TF",
        "gone",
        "headsmith.keras.activations:get_activation",
        note="Keras 3, any backend",
    )

    yield from _rows(
        "tokenization_utils",
        "Trie _insert_one_token_to_ordered_list _is_control _is_end_of_word _is_punctuation "
        "_is_start_of_word _is_whitespace",
        "ok",
        "moved",
        "transformers.tokenization_python",
    )
    yield from _rows(
        "tokenization_utils",
        "BatchEncoding EncodedInput PaddingStrategy PreTokenizedInput PreTrainedTokenizerBase "
        "TensorType TextInput TruncationStrategy",
        "ok",
        "moved",
        "transformers.tokenization_utils_base",
    )
    yield from _rows(
        "utils.backbone_utils",
        "get_aligned_output_features_output_indices verify_out_features_out_indices",
        "ok",
        "gone",
        "headsmith.compat.backbones",
    )
    yield from _rows(
        "deepspeed",
        "HfDeepSpeedConfig HfTrainerDeepSpeedConfig deepspeed_config deepspeed_init "
        "deepspeed_load_checkpoint is_deepspeed_available is_deepspeed_zero3_enabled",
        "gone",
        "gone",
        "transformers.integrations.deepspeed",
    )
    for module in ("utils", "file_utils", "utils.import_utils"):
        yield from _rows(module, _TF_CHECKS, "ok", "gone", "", SHIMS, _NO_TF)
        yield from _rows(module, "is_torch_fx_available", "ok", "gone", "", SHIMS, "always True")
    for module in ("utils", "file_utils"):
        yield from _rows(module, _TF_FILES, "ok", "gone", "", SHIMS)
        yield from _rows(module, "is_offline_mode", "ok", "gone", "huggingface_hub")
        yield from _rows(module, "cached_property", "gone", "gone", "functools")
        yield from _rows(
            module, "TRANSFORMERS_CACHE", "ok", "gone", "", SHIMS,
            "the hub's own folder: huggingface_hub.constants.HF_HUB_CACHE",
        )  # fmt: skip
    yield from _rows("utils", "is_safetensors_available", "ok", "gone", "", SHIMS, "always True")
    yield from _rows("utils", "is_remote_url", "ok", "gone", "", SHIMS)

    yield from _rows("onnx", "OnnxConfig OnnxConfigWithPast OnnxSeq2SeqConfigWithPast PatchingSpec",
                     "ok", "gone", "", ONNX, _ONNX_NOTE)  # fmt: skip
    yield from _rows("onnx.config", "OnnxConfig", "ok", "gone", "", ONNX, _ONNX_NOTE)
    yield from _rows(
        "onnx.utils", "compute_effective_axis_dimension", "ok", "gone", "", ONNX, _ONNX_NOTE
    )

    for module in ("generation", "generation.utils"):
        for old, new in (
            ("GreedySearchDecoderOnlyOutput", "GenerateDecoderOnlyOutput"),
            ("SampleDecoderOnlyOutput", "GenerateDecoderOnlyOutput"),
            ("GreedySearchEncoderDecoderOutput", "GenerateEncoderDecoderOutput"),
            ("SampleEncoderDecoderOutput", "GenerateEncoderDecoderOutput"),
            ("BeamSearchDecoderOnlyOutput", "GenerateBeamDecoderOnlyOutput"),
            ("BeamSearchEncoderDecoderOutput", "GenerateBeamEncoderDecoderOutput"),
        ):
            yield Name(
                f"transformers.{module}", old, "ok", "gone", f"transformers.generation.utils:{new}"
            )
    for module in ("generation", "generation.logits_process", ""):
        yield Name(
            f"transformers.{module}".rstrip("."),
            "LogitsWarper",
            "gone",
            "gone",
            "transformers.generation.logits_process:LogitsProcessor",
        )

    yield from _more_of_model_files()
    for module in ("", "optimization"):
        yield from _rows(
            module, "AdamW", "gone", "gone",
            note="torch.optim.AdamW; its defaults differ (lr, eps, weight_decay)",
        )  # fmt: skip
    yield from _rows("modeling_tf_utils", "TFPreTrainedModel TFSharedEmbeddings", "needs TF",
                     "gone", note="no TensorFlow models in Transformers 5")  # fmt: skip
    yield from _rows("utils.fx", "symbolic_trace", "ok", "gone", note="torch.export")
    yield from _rows("data.metrics", "glue_compute_metrics", "ok", "gone", note="evaluate")
    yield from _of_data()


def _more_of_model_files() -> Iterator[Name]:
    """What model files of 4.2x to 4.5x import besides."""
    yield from _rows("modeling_utils", "dispatch_model infer_auto_device_map init_empty_weights",
                     "ok", "gone", "accelerate")  # fmt: skip
    yield from _rows(
        "modeling_utils",
        "check_tied_parameters_on_same_device find_tied_parameters get_balanced_memory "
        "get_max_memory offload_weight",
        "ok", "gone", "accelerate.utils",
    )  # fmt: skip
    yield from _rows("modeling_utils", "load_offloaded_weights set_module_tensor_to_device",
                     "gone", "gone", "accelerate.utils")  # fmt: skip
    yield from _rows("modeling_utils", "CrossEntropyLoss Identity", "gone", "gone", "torch.nn")
    yield from _rows(
        "pytorch_utils",
        "is_torch_greater_or_equal_than_1_6 is_torch_greater_or_equal_than_1_7 "
        "is_torch_greater_or_equal_than_1_8 is_torch_greater_or_equal_than_1_9 "
        "is_torch_greater_or_equal_than_1_10 is_torch_greater_or_equal_than_1_11",
        "gone", "gone", "", f"{SHIMS}:TRUE", "always True now",
    )  # fmt: skip
    yield from _rows("pytorch_utils", "is_torch_less_than_1_8 is_torch_1_8_0", "gone", "gone", "",
                     f"{SHIMS}:is_torch_less_than_1_11", "always False now")  # fmt: skip
    yield from _rows("pytorch_utils", "torch_int_div", "gone", "gone", "", SHIMS,
                     'torch.div(…, rounding_mode="floor")')  # fmt: skip
    no_use = "Transformers 5 has no use for it: the answer is False"
    for module in ("utils", "file_utils", "utils.import_utils"):
        yield from _rows(
            module, "is_ftfy_available is_ipex_available is_tensorflow_probability_available "
            "is_tf2onnx_available", "ok", "gone", "", f"{SHIMS}:is_unavailable", no_use,
        )  # fmt: skip
        yield from _rows(module, "is_torch_bf16_available", "ok", "gone", "",
                         "transformers.utils:is_torch_bf16_gpu_available")  # fmt: skip
        yield Name(f"transformers.{module}", "is_flash_attn_available", "gone", "gone",
                   "transformers.utils:is_flash_attn_2_available")  # fmt: skip
    for module in ("utils", "utils.import_utils"):
        yield from _rows(module, "is_jieba_available", "gone", "gone", "",
                         f"{SHIMS}:is_unavailable", no_use)  # fmt: skip
        yield from _rows(module, "is_keras_nlp_available is_tensorflow_text_available", "ok",
                         "gone", "", f"{SHIMS}:is_unavailable", no_use)  # fmt: skip
        yield from _rows(module, "is_torchdynamo_available is_torch_compile_available", "ok",
                         "gone", "", f"{SHIMS}:is_available", "always True")  # fmt: skip
    for module in ("utils", "utils.generic"):
        yield from _rows(module, "is_jax_tensor is_tf_tensor is_tf_symbolic_tensor", "ok", "gone",
                         "", f"{SHIMS}:is_tensor_of_another", _NO_TF)  # fmt: skip
    for module in ("utils", "file_utils", ""):
        yield from _rows(module, "PYTORCH_PRETRAINED_BERT_CACHE PYTORCH_TRANSFORMERS_CACHE", "ok",
                         "gone", "", SHIMS, "the hub's own folder")  # fmt: skip
    for module in ("utils", "file_utils"):
        yield from _rows(module, "HUGGINGFACE_CO_RESOLVE_ENDPOINT", "ok", "gone", "", SHIMS,
                         "huggingface_hub.constants.ENDPOINT")  # fmt: skip
    yield from _rows("utils", "send_example_telemetry", "gone", "gone", "",
                     f"{SHIMS}:nothing_said", "delete the call")  # fmt: skip
    yield from _rows("", _TF_CHECKS, "ok", "gone", "", SHIMS, _NO_TF)

    for module in ("", "generation", "generation.utils", "generation_utils"):
        yield from _rows(module, "top_k_top_p_filtering", "gone", "gone", "", SHIMS,
                         "TopKLogitsWarper and TopPLogitsWarper")  # fmt: skip
    yield from _rows("generation_utils", "GenerationMixin", "gone", "gone",
                     "transformers.generation")  # fmt: skip
    for old, new in (
        ("SampleOutput", "GenerateNonBeamOutput"),
        ("GreedySearchOutput", "GenerateNonBeamOutput"),
        ("BeamSearchOutput", "GenerateBeamOutput"),
        ("BeamSampleOutput", "GenerateBeamOutput"),
    ):
        for module in ("generation.utils", "generation_utils"):
            yield Name(f"transformers.{module}", old, "ok" if module[10:11] == "." else "gone",
                       "gone", f"transformers.generation.utils:{new}")  # fmt: skip
    yield from _rows(
        "generation_logits_process",
        "LogitsProcessor LogitsProcessorList MinLengthLogitsProcessor NoRepeatNGramLogitsProcessor "
        "RepetitionPenaltyLogitsProcessor TemperatureLogitsWarper TopKLogitsWarper "
        "TopPLogitsWarper",
        "gone", "gone", "transformers.generation",
    )  # fmt: skip
    yield from _rows(
        "generation_stopping_criteria",
        "MaxLengthCriteria MaxTimeCriteria StoppingCriteria StoppingCriteriaList",
        "gone", "gone", "transformers.generation",
    )  # fmt: skip
    yield from _of_beam_search()
    yield from _of_hub_and_tokenizers()
    yield from _of_single_models()
    for module in ("", "cache_utils"):
        yield Name(f"transformers.{module}".rstrip("."), "HybridCache", "ok", "gone",
                   "transformers.cache_utils:StaticCache")  # fmt: skip
    yield Name("transformers", "SlidingWindowCache", "ok", "gone",
               "transformers.cache_utils:StaticCache")  # fmt: skip
    for module in ("trainer_utils", "training_args"):
        yield Name(f"transformers.{module}", "EvaluationStrategy", "ok", "gone",
                   "transformers.trainer_utils:IntervalStrategy")  # fmt: skip
    yield from _rows("", "AutoModelWithLMHead", "ok", "gone",
                     note="AutoModelForCausalLM, …MaskedLM or …Seq2SeqLM")  # fmt: skip
    yield from _rows("", "AutoModelForVision2Seq", "ok", "gone",
                     note="AutoModelForImageTextToText")  # fmt: skip
    yield from _rows("data.data_collator", "DataCollatorForWholeWordMask", "ok", "gone",
                     note="DataCollatorForLanguageModeling(…, whole_word_mask=True)")  # fmt: skip
    for model in _IMAGE_MODELS.split():
        yield Name("transformers", f"{model}FeatureExtractor", "ok", "gone",
                   f"transformers:{model}ImageProcessor")  # fmt: skip


def _of_data() -> Iterator[Name]:
    """Examples and features, and what read the data sets of old."""
    examples = "InputExample InputFeatures DataProcessor"
    for module in ("", "data", "data.processors", "data.processors.utils"):
        yield from _rows(module, examples, "ok", "gone", "headsmith.compat.input_examples")
    ours = "headsmith.qa makes features of questions and contexts"
    for module in ("", "data", "data.processors", "data.processors.squad"):
        yield from _rows(
            module, "SquadExample SquadFeatures SquadV1Processor SquadV2Processor "
            "squad_convert_examples_to_features", "ok", "gone", note=ours,
        )  # fmt: skip
    for module in ("", "data", "data.processors", "data.processors.glue"):
        yield from _rows(
            module, "glue_convert_examples_to_features glue_output_modes glue_processors "
            "glue_tasks_num_labels", "ok", "gone", note="the datasets library reads GLUE",
        )  # fmt: skip


def _of_hub_and_tokenizers() -> Iterator[Name]:
    """What read files of the hub, and what tokenizers inherited from."""
    yield from _rows("modeling_utils", "load_sharded_checkpoint", "moved", "moved",
                     "transformers.trainer_utils")  # fmt: skip
    for module in ("utils", "utils.hub", "file_utils"):
        yield from _rows(module, "get_file_from_repo", "ok", "gone", "", SHIMS,
                         "transformers.utils.cached_file")  # fmt: skip
    for module in ("", "tokenization_utils_base"):
        yield Name(f"transformers.{module}".rstrip("."), "SpecialTokensMixin", "ok", "gone", "",
                   "transformers.tokenization_utils_base:PreTrainedTokenizerBase",
                   "part of PreTrainedTokenizerBase")  # fmt: skip
    for model in ["Electra", "LayoutLM", "LED", "Longformer", "Lxmert", "Mvp"]:
        yield from _rows(f"models.{model.lower()}.tokenization_{model.lower()}",
                         f"{model}Tokenizer", "ok", "gone", "transformers")  # fmt: skip


def _of_single_models() -> Iterator[Name]:
    """Classes and functions of one model that others' code builds on."""
    loss = "image_text_contrastive_loss"
    for name, models in (("clip_loss", "altclip clip vision_text_dual_encoder"),
                         ("blip_loss", "blip")):  # fmt: skip
        for model in models.split():
            module = f"transformers.models.{model}.modeling_{model}"
            yield Name(module, name, "ok", "gone", f"{module}:{loss}")
    clip = "transformers.models.clip.modeling_clip"
    for part in ("Text", "Vision"):
        yield Name(clip, f"CLIP{part}Transformer", "ok", "gone", "", f"{clip}:CLIP{part}Model",
                   f"CLIP{part}Model, which has its layers now")  # fmt: skip
    yield from _rows("models.distilbert.modeling_distilbert", "MultiHeadSelfAttention", "ok",
                     "gone", "headsmith.compat.distilbert_attention")  # fmt: skip
    for model in ("deberta", "deberta_v2"):
        yield from _rows(
            f"models.{model}.modeling_{model}",
            "DropoutContext StableDropout XDropout XSoftmax get_mask",
            "gone", "gone", "transformers.models.sew_d.modeling_sew_d",
        )  # fmt: skip


def _of_beam_search() -> Iterator[Name]:
    """What loops of one's own import for beam search."""
    ours, constraints = "headsmith.compat.beam_search", "headsmith.compat.constraints"
    refused = "restored to be imported; no search has constraints in Transformers 5"
    for module in ("", "generation"):
        yield from _rows(module, "BeamScorer", "ok", "gone", ours)
        yield from _rows(module, "BeamSearchScorer", "gone", "gone", ours)
        yield from _rows(module, "HammingDiversityLogitsProcessor", "gone", "gone",
                         "headsmith.compat.diversity")  # fmt: skip
        yield from _rows(
            module, "ConstrainedBeamSearchScorer Constraint ConstraintListState "
            "DisjunctiveConstraint PhrasalConstraint", "ok", "gone", "", constraints, refused,
        )  # fmt: skip
    yield from _rows("generation", "BeamHypotheses", "ok", "gone", ours)
    yield from _rows("generation.beam_search", "BeamHypotheses BeamScorer BeamSearchScorer", "ok",
                     "gone", ours)  # fmt: skip
    yield from _rows("generation.beam_search", "ConstrainedBeamSearchScorer", "ok", "gone", "",
                     constraints, refused)  # fmt: skip
    yield from _rows(
        "generation.beam_constraints",
        "Constraint ConstraintListState DisjunctiveConstraint PhrasalConstraint",
        "ok", "gone", "", constraints, refused,
    )  # fmt: skip
    yield from _rows("generation_beam_search", "BeamHypotheses BeamScorer BeamSearchScorer",
                     "gone", "gone", ours)  # fmt: skip
    yield from _rows("generation.logits_process", "HammingDiversityLogitsProcessor", "ok", "gone",
                     "headsmith.compat.diversity")  # fmt: skip
    yield from _rows("generation_logits_process", "HammingDiversityLogitsProcessor", "gone",
                     "gone", "headsmith.compat.diversity")  # fmt: skip


NAMES: tuple[Name, ...] = tuple(_table())
"""All names but the re-exports of model modules, for which see `reexports`."""

_GONE = (
    "modeling_tf_utils tf_utils activations_tf utils.model_parallel_utils utils.fx onnx "
    "onnx.config onnx.utils data.metrics data.processors data.processors.glue "
    "data.processors.squad data.processors.utils deepspeed generation_utils "
    "generation_logits_process generation_stopping_criteria generation_beam_search "
    "generation.beam_search generation.beam_constraints models.electra.tokenization_electra "
    "models.layoutlm.tokenization_layoutlm models.led.tokenization_led "
    "models.longformer.tokenization_longformer models.lxmert.tokenization_lxmert "
    "models.mvp.tokenization_mvp"
)
GONE_MODULES = frozenset(f"transformers.{module}" for module in _GONE.split())
"""Modules of the table that Transformers 5 has not."""

METHODS: tuple[Method, ...] = (
    Method("prune_heads", "ok", "gone", "headsmith.pruning.prune_heads(model, {layer: [heads]})"),
    Method("get_head_mask", "ok", "gone", "restored; or [None] * layers where no mask is given"),
    Method("_convert_head_mask_to_5d", "ok", "gone", "restored"),
    Method("get_extended_attention_mask", "ok", "gone", "restored"),
    Method("invert_attention_mask", "ok", "gone", "restored"),
    Method("create_extended_attention_mask_for_decoder", "ok", "gone", "restored"),
    Method("_tie_or_clone_weights", "ok", "gone", "restored; new code declares _tied_weights_keys"),
    Method("estimate_tokens", "ok", "gone", "restored"),
    Method("floating_point_ops", "ok", "gone", "restored"),
    Method(
        "init_weights() without post_init()",
        "ok",
        "AttributeError",
        "call self.post_init() last in __init__",
    ),
    Method(
        "_tied_weights_keys as a list",
        "ok",
        "AttributeError",
        'a dict: {"lm_head.weight": "model.embed_tokens.weight"}',
    ),
    Method(
        "output embeddings tied by get_output_embeddings",
        "ok",
        "silently not tied",
        "declare them in _tied_weights_keys",
    ),
    Method(
        "generate on a class that prepares inputs for it",
        "gone",
        "gone",
        "inherit from GenerationMixin too, and take Cache objects",
    ),
    Method(
        "config.is_decoder, add_cross_attention, pruned_heads, tie_word_embeddings, …",
        "ok",
        "gone",
        "give each its default in your configuration class",
    ),
    Method(
        "buffers that no checkpoint holds, such as position_ids",
        "ok",
        "read as garbage after from_pretrained",
        "set them in _init_weights",
    ),
    Method(
        "get_usable_length, get_max_cache_shape, seen_tokens, to_legacy_cache, "
        "from_legacy_cache, key_cache, value_cache, indexing of a cache",
        "partly",
        "gone",
        "restored; get_seq_length(), and layers[i].keys and .values",
    ),
    Method(
        "head_mask given to a native model",
        "ok",
        "silently ignored",
        "headsmith.pruning.head_mask(model, mask)",
    ),
    Method(
        "causal_attention_mask given to blocks of CLIP and its kin",
        "ok",
        "silently ignored",
        "restored; attention_mask + causal_attention_mask",
    ),
    Method(
        "model.vision_model, model.text_model of CLIPVisionModel, CLIPTextModel and their kin",
        "ok",
        "gone",
        "restored for old code; the model itself",
    ),
)
"""Methods and behaviours of model classes."""


@cache
def reexports() -> dict[str, dict[str, str]]:
    """Model modules that once had names in them which are elsewhere now.

    Returns:
        Module → name → `"module:name"` of what stands for it.

    Example:
        >>> from headsmith.compat.names import reexports
        >>> reexports()["transformers.models.xlnet.modeling_xlnet"]["SequenceSummary"]
        'headsmith.torch:SequenceSummary'
    """
    homes = {
        row.name: row.restored_from
        for row in NAMES
        if row.module in ("transformers.modeling_utils", "transformers.utils.model_parallel_utils")
    }
    found: dict[str, dict[str, str]] = {}
    for name, models in REEXPORTS.items():
        for model in models.split():
            package, _, stem = model.partition("=")
            module = f"transformers.models.{package}.modeling_{stem or package}"
            found.setdefault(module, {})[name] = homes[name]
    for names, (home, models) in TOKENIZER_REEXPORTS.items():
        for model in models.split():
            held = found.setdefault(f"transformers.models.{model}.tokenization_{model}", {})
            held.update({name: f"{home}:{name}" for name in names.split()})
    return found


@cache
def _by_place() -> dict[tuple[str, str], Name]:
    return {(row.module, row.name): row for row in NAMES}


def lookup(module: str, name: str) -> Name | None:
    """What is known of `name` in `module`, re-exports of model modules included.

    Args:
        module: an absolute module name.
        name: a name once found in it.

    Example:
        >>> from headsmith.compat.names import lookup
        >>> lookup("transformers.pytorch_utils", "prune_layer").target
        'headsmith.torch:prune_layer'
        >>> lookup("transformers.pytorch_utils", "Conv1D") is None
        True
    """
    row = _by_place().get((module, name))
    if row is not None:
        return row
    target = reexports().get(module, {}).get(name)
    if target is not None:
        return Name(module, name, "ok", "gone", target)
    place = by_rule(module, name)
    if not place:
        return None
    if place.startswith((SHIMS, ONNX)):
        return Name(module, name, "gone", "gone", "", place)
    return Name(module, name, "gone", "gone", place)


def names_of(module: str) -> dict[str, str]:
    """Names to be restored in `module`: name → `"module:name"` of the object."""
    found = {r.name: r.restored_from for r in NAMES if r.module == module and r.restored_from}
    return {**found, **reexports().get(module, {})}
