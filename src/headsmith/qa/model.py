"""QAModel: any encoder of Transformers with the SQuAD head of headsmith on top.

A saved QAModel is a checkpoint of its encoder (`config.json`, `model.safetensors`) with two
files more: `headsmith-qa.json`, which is read first, and `qa_head.safetensors`. So plain
`AutoModel` opens the encoder alone, and a pruned encoder is opened like any pruned model.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils.hub import cached_file

from headsmith.errors import CheckpointError
from headsmith.network import connection_trouble, interrupted
from headsmith.pruning import load
from headsmith.qa.settings import FILE_NAME, HEAD_FILE, QASettings, read_settings
from headsmith.spec.configs import SquadHeadConfig
from headsmith.torch import SQuADHead, SquadHeadOutput

__all__ = ["QAModel"]

_HEADS = ("start_logits", "end_logits", "answer_class")
_BEAM_HEADED = (
    "XLNetForQuestionAnswering",
    "XLMForQuestionAnswering",
    "FlaubertForQuestionAnswering",
)


class QAModel(nn.Module):
    """An encoder with a SQuAD head: a loss from labels, beams of answer spans without.

    Args:
        encoder: a base model of Transformers that gives `last_hidden_state`.
        settings: of the head and of the windows it is trained on; None takes the defaults.

    Attributes:
        encoder: the encoder.
        head: a `SQuADHead` that gives logarithms.
        settings: what `headsmith-qa.json` holds.
        config: the encoder's config.

    Raises:
        CheckpointError: the encoder is one of an encoder-decoder, or tells no `hidden_size`.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from headsmith.qa.model import QAModel
        >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = QAModel(BertModel(config))
        >>> ids = torch.ones(2, 7, dtype=torch.long)
        >>> model(input_ids=ids, attention_mask=ids).start_top_index.shape
        torch.Size([2, 5])
    """

    base_model_prefix = "encoder"

    def __init__(self, encoder: nn.Module, settings: QASettings | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings or QASettings()
        config = self.config
        if getattr(config, "is_encoder_decoder", False):
            raise CheckpointError(
                f"{type(encoder).__name__} is an encoder with a decoder. Expected an encoder alone."
            )
        size = getattr(config, "hidden_size", None)
        if not isinstance(size, int):
            raise CheckpointError(f"The config of {type(encoder).__name__} has no hidden_size.")
        self.head = SQuADHead(
            SquadHeadConfig(
                size,
                float(getattr(config, "layer_norm_eps", 1e-12)),
                self.settings.start_n_top,
                self.settings.end_n_top,
            ),
            answer_start=self.settings.answer_start,
            log_probs=True,
        )
        for module in self.head.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(
                    module.weight, std=float(getattr(config, "initializer_range", 0.02))
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        pooler = getattr(encoder, "pooler", None)
        if isinstance(pooler, nn.Module):
            # It takes no part, and training in several processes wants no such parameters.
            pooler.requires_grad_(False)
        taken = inspect.signature(encoder.forward).parameters
        self._takes_types = "token_type_ids" in taken
        self._takes_positions = "position_ids" in taken and not _counts_by_padding(encoder)

    @property
    def config(self) -> Any:
        """The encoder's config."""
        return self.encoder.config

    @config.setter
    def config(self, config: Any) -> None:
        self.encoder.config = config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        p_mask: Tensor | None = None,
        cls_index: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        is_impossible: Tensor | None = None,
        return_predictions: bool = False,
    ) -> SquadHeadOutput:
        """Run the encoder and the head.

        Args:
            input_ids: int64 (batch, length).
            attention_mask: (batch, length), 1 = a token.
            token_type_ids: (batch, length); passed over where the encoder takes none.
            p_mask: (batch, length), True = cannot be an answer.
            cls_index: (batch,).
            start_positions: (batch,); with `end_positions` the loss is computed.
            end_positions: (batch,).
            is_impossible: (batch,).
            return_predictions: whether to give the predictions beside the loss.

        Returns:
            See `headsmith.torch.SQuADHead`; its `*_log_probs` are logarithms here.
        """
        hidden = self.hidden_states(input_ids, attention_mask, token_type_ids)
        return cast(
            SquadHeadOutput,
            self.head(
                hidden,
                start_positions=start_positions,
                end_positions=end_positions,
                cls_index=cls_index,
                is_impossible=is_impossible,
                p_mask=p_mask,
                return_dict=True,
                attention_mask=attention_mask,
                return_predictions=return_predictions,
            ),
        )

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """The encoder's last hidden states, (batch, length, hidden_size)."""
        more: dict[str, Tensor] = {}
        if token_type_ids is not None and self._takes_types:
            more["token_type_ids"] = token_type_ids
        if attention_mask is not None:
            more["attention_mask"] = attention_mask
            if self._takes_positions and bool((attention_mask[:, 0] == 0).any()):
                # Padding on the left must not move the tokens behind it.
                more["position_ids"] = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
        states: Tensor = self.encoder(input_ids=input_ids, return_dict=True, **more)[0]
        return states

    def save_pretrained(self, folder: str | os.PathLike[str], **options: Any) -> None:
        """Write the encoder, the head and the settings; safetensors and JSON.

        Args:
            folder: made if it is missing.
            **options: passed on to the encoder's `save_pretrained`.
        """
        path = Path(folder)
        self.encoder.save_pretrained(path, **options)  # type: ignore[operator]
        state = {k: v.detach().cpu().contiguous() for k, v in self.head.state_dict().items()}
        save_file(state, path / HEAD_FILE, metadata={"format": "pt"})
        (path / FILE_NAME).write_text(self.settings.to_json(), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **options: Any) -> QAModel:
        """Open what `save_pretrained` wrote, or a QA checkpoint of XLNet, XLM or Flaubert.

        Only safetensors are read, and no code from a checkpoint runs.

        Args:
            path: a local folder, or the id of a model on the hub.
            **options: passed on to the encoder's `from_pretrained`, such as `dtype`.

        Returns:
            The model, in evaluation mode.

        Raises:
            CheckpointError: there is no such model at `path`.
        """
        settings = read_settings(path)
        if settings is None:
            return _from_transformers(cls, path, options)
        encoder = load(path, model_class=transformers.AutoModel, **options)
        model = cls(encoder, settings)
        _fill(model.head, _read_head(path), path)
        dtype = next((p.dtype for p in encoder.parameters() if p.is_floating_point()), None)
        return model.to(dtype).eval() if dtype else model.eval()

    @classmethod
    def from_encoder(
        cls, path: str | os.PathLike[str], settings: QASettings | None = None, **options: Any
    ) -> QAModel:
        """An encoder's checkpoint with a new head, to be trained.

        Args:
            path: a local folder, or the id of a model on the hub; pruned or not, with or
                without a task head, which is left behind.
            settings: of the head.
            **options: passed on to `from_pretrained`.

        Raises:
            CheckpointError: there is no encoder at `path`.
        """
        return cls(load(path, model_class=transformers.AutoModel, **options), settings).eval()


def _counts_by_padding(encoder: nn.Module) -> bool:
    """Does it number its positions by where padding is, as RoBERTa does?"""
    tables = (getattr(m, "position_embeddings", None) for m in encoder.modules())
    return any(isinstance(t, nn.Embedding) and t.padding_idx is not None for t in tables)


def _read_head(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    file = Path(path) / HEAD_FILE
    if not Path(path).is_dir():
        try:
            file = Path(str(cached_file(str(path), HEAD_FILE)))
        except (OSError, ValueError) as error:
            trouble = connection_trouble(error)
            told = interrupted(path, trouble) if trouble else f"{path} has no {HEAD_FILE}: {error}"
            raise CheckpointError(told) from error
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The QA head cannot be read from {file}: {error}. Expected what QAModel saves."
        ) from error


def _fill(head: SQuADHead, state: Mapping[str, Tensor], path: object) -> None:
    try:
        head.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"The QA head of {path} does not fit its encoder: {reason}"
        ) from error


def _from_transformers(cls: type[QAModel], path: Any, options: dict[str, Any]) -> QAModel:
    """A checkpoint whose class in Transformers has this head."""
    try:
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        if trouble := connection_trouble(error):
            raise CheckpointError(interrupted(path, trouble)) from error
        raise CheckpointError(
            f"No QA model can be opened at {str(path)!r}. Expected a folder, or the id of a model "
            f"on the hub, with config.json and {FILE_NAME}."
        ) from error
    names = list(getattr(config, "architectures", None) or [])
    name = next((n for n in names if n in _BEAM_HEADED), None)
    if name is None:
        raise CheckpointError(
            f"{path} is no QA model with a SQuAD head: it has no {FILE_NAME} and is a "
            f"{names[0] if names else 'model without architectures'}. Expected what "
            f"`headsmith qa train` writes, or one of {', '.join(_BEAM_HEADED)}."
        )
    whole = load(path, model_class=getattr(transformers, name), config=config, **options)
    state = whole.state_dict()
    # XLNet has the three parts on top, XLM and Flaubert a head of their own.
    found = {
        key.removeprefix("qa_outputs."): value
        for key, value in state.items()
        if key.removeprefix("qa_outputs.").partition(".")[0] in _HEADS
    }
    settings = QASettings(
        start_n_top=int(getattr(config, "start_n_top", 5)),
        end_n_top=int(getattr(config, "end_n_top", 5)),
    )
    model = cls(whole.transformer, settings)
    _fill(model.head, found, path)
    return model.to(next(iter(found.values())).dtype).eval()
