"""The losses, beside those of Transformers 5; 4.34 computes the same inside each model.

The language-model losses from hidden states stand beside the product with the output weights and
the cross-entropy of its float32 values.
"""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers.loss import loss_utils as reference

from benchmarks.harness import Case, Sides
from headsmith.torch import linear_losses, losses

VOCABULARY = 50257


def cases() -> Iterator[Case]:
    """With all labels, with a few, from logits and from hidden states."""
    for share in (1.0, 0.15):
        labelled = f"{share:.0%} labelled"
        yield Case(
            "masked LM loss",
            f"512×{VOCABULARY} logits, {labelled}, forward + backward",
            partial(_from_logits, share),
            weigh=True,
        )
        yield Case(
            "masked LM loss from hidden states",
            f"2048×768→{VOCABULARY}, {labelled}, forward + backward",
            partial(_from_hidden, share),
            weigh=True,
        )
    yield Case(
        "masked LM loss from hidden states",
        f"2048×768→{VOCABULARY}, bfloat16, 100% labelled, forward + backward",
        partial(_from_hidden, 1.0, torch.bfloat16),
        weigh=True,
    )
    yield Case("causal LM loss", f"4×128×{VOCABULARY} logits, forward + backward", _causal)
    yield Case("token classification loss", "32×384×9, forward + backward", _tokens)
    yield Case("QA loss", "32×384, forward + backward", _spans)
    yield Case("sequence classification loss", "256×5, forward + backward", _classes)


def _with_gradient(compute: Any, *sources: Tensor) -> Any:
    def call() -> Any:
        loss = compute(*sources)
        return loss, *torch.autograd.grad(loss, sources)

    return call


def _labels(number: int, classes: int, share: float) -> Tensor:
    labels = torch.randint(0, classes, (number,))
    labels[torch.rand(number) >= share] = -100
    return labels


def _plain(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), labels.view(-1))


def _from_logits(share: float) -> Sides:
    torch.manual_seed(0)
    logits, labels = torch.randn(512, VOCABULARY, requires_grad=True), None
    labels = _labels(512, VOCABULARY, share)
    return Sides(
        _with_gradient(lambda x: losses.masked_language_modeling_loss(x, labels), logits),
        _with_gradient(lambda x: reference.ForMaskedLMLoss(x, labels, VOCABULARY), logits),
    )


def _from_hidden(share: float, dtype: torch.dtype = torch.float32) -> Sides:
    torch.manual_seed(0)
    hidden = torch.randn(2048, 768).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, 768).mul_(0.02).to(dtype).requires_grad_()
    labels = _labels(2048, VOCABULARY, share)
    return Sides(
        _with_gradient(
            lambda h, w: linear_losses.masked_language_modeling_loss_from_hidden(h, w, labels),
            hidden,
            weight,
        ),
        _with_gradient(lambda h, w: _plain(F.linear(h, w), labels), hidden, weight),
    )


def _causal() -> Sides:
    torch.manual_seed(0)
    logits = torch.randn(4, 128, VOCABULARY, requires_grad=True)
    labels = torch.randint(0, VOCABULARY, (4, 128))

    return Sides(
        _with_gradient(lambda x: losses.causal_language_modeling_loss(x, labels), logits),
        _with_gradient(lambda x: reference.ForCausalLMLoss(x, labels, VOCABULARY), logits),
    )


def _tokens() -> Sides:
    torch.manual_seed(0)
    logits = torch.randn(32, 384, 9, requires_grad=True)
    labels, config = _labels(32 * 384, 9, 0.6).view(32, 384), SimpleNamespace(num_labels=9)
    return Sides(
        _with_gradient(lambda x: losses.token_classification_loss(x, labels), logits),
        _with_gradient(lambda x: reference.ForTokenClassification(x, labels, config), logits),
    )


def _spans() -> Sides:
    torch.manual_seed(0)
    start, end = (torch.randn(32, 384, requires_grad=True) for _ in range(2))
    at = torch.randint(0, 384, (2, 32))

    return Sides(
        _with_gradient(lambda s, e: losses.question_answering_loss(s, e, *at), start, end),
        _with_gradient(lambda s, e: reference.ForQuestionAnsweringLoss(s, e, *at), start, end),
    )


def _classes() -> Sides:
    torch.manual_seed(0)
    logits, labels = torch.randn(256, 5, requires_grad=True), torch.randint(0, 5, (256,))
    config = SimpleNamespace(num_labels=5, problem_type=None)
    return Sides(
        _with_gradient(lambda x: losses.sequence_classification_loss(x, labels), logits),
        _with_gradient(
            lambda x: reference.ForSequenceClassificationLoss(labels, x, config), logits
        ),
    )
