"""The heads that live on in the model files of Transformers 5: their weights load unchanged."""

import warnings

import pytest
import torch
from torch import nn

from headsmith.torch.squad import PoolerAnswerClass, PoolerEndLogits, PoolerStartLogits, SQuADHead
from headsmith.torch.summary import SequenceSummary


def random_weights(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def calls(batch=3, length=6):
    mask = torch.zeros(batch, length)
    mask[:, -1] = 1
    cls_index = torch.zeros(batch, dtype=torch.long)
    train = {
        "start_positions": torch.tensor([1, 2, 0]),
        "end_positions": torch.tensor([2, 4, 0]),
        "cls_index": cls_index,
        "is_impossible": torch.tensor([0.0, 0.0, 1.0]),
    }
    return [{}, {"p_mask": mask}, {"cls_index": cls_index}, train, train | {"p_mask": mask}]


@pytest.fixture(params=["xlm", "flaubert"])
def model(request):
    from transformers import (
        FlaubertConfig,
        FlaubertForQuestionAnswering,
        XLMConfig,
        XLMForQuestionAnswering,
    )

    config_class, model_class = {
        "xlm": (XLMConfig, XLMForQuestionAnswering),
        "flaubert": (FlaubertConfig, FlaubertForQuestionAnswering),
    }[request.param]
    config = config_class(
        vocab_size=20, emb_dim=8, n_layers=1, n_heads=2, start_n_top=3, end_n_top=2, n_langs=1
    )
    return random_weights(model_class(config))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_head_of_xlm_and_flaubert(model):
    head = SQuADHead(model.config)
    head.load_state_dict(model.qa_outputs.state_dict())
    x = torch.randn(3, 6, 8)
    for kwargs in calls():
        clone = {name: value.clone() for name, value in kwargs.items()}
        torch.testing.assert_close(head(x, **kwargs), model.qa_outputs(x, **clone))
    # In its place, the whole model says the same.
    ids = torch.randint(0, 20, (3, 6))
    before = model(ids)
    model.qa_outputs = head
    after = model(ids)
    for key in ("start_top_log_probs", "end_top_index", "cls_logits"):
        torch.testing.assert_close(after[key], before[key])


def test_poolers_of_xlnet():
    from transformers import XLNetConfig, XLNetForQuestionAnswering

    config = XLNetConfig(
        vocab_size=20, d_model=8, n_layer=1, n_head=2, d_inner=16, start_n_top=3, end_n_top=2
    )
    model = random_weights(XLNetForQuestionAnswering(config))
    head = SQuADHead(config)
    names = ("start_logits", "end_logits", "answer_class")
    head.load_state_dict(
        {k: v for k, v in model.state_dict().items() if k.partition(".")[0] in names}
    )
    ids = torch.randint(0, 20, (3, 6))
    hidden = model.transformer(ids)[0]
    for kwargs in calls():
        clone = {name: value.clone() for name, value in kwargs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = model(ids, **clone, return_dict=True)
        got = head(hidden, **kwargs, return_dict=True)
        if "start_positions" in kwargs:
            torch.testing.assert_close(got.loss, expected.loss)
            continue
        # XLNet transposes its ends before it flattens them, so that they go by their starts.
        torch.testing.assert_close(got.start_top_log_probs, expected.start_top_log_probs)
        torch.testing.assert_close(got.start_top_index, expected.start_top_index)
        torch.testing.assert_close(got.cls_logits.view(-1), expected.cls_logits.view(-1))
    # The poolers one by one, in XLNet's own forward, which expands both states.
    before = model(ids)
    for name, cls in zip(
        names, (PoolerStartLogits, PoolerEndLogits, PoolerAnswerClass), strict=True
    ):
        ours = cls(config)
        ours.load_state_dict(getattr(model, name).state_dict())
        setattr(model, name, ours)
    after = model(ids)
    for key in ("start_top_log_probs", "end_top_log_probs", "end_top_index", "cls_logits"):
        torch.testing.assert_close(after[key], before[key])


@pytest.mark.parametrize("summary_type", ["last", "first", "mean", "cls_index"])
def test_summary_of_xlnet(summary_type):
    from transformers import XLNetConfig
    from transformers.models.xlnet.modeling_xlnet import XLNetSequenceSummary

    config = XLNetConfig(
        d_model=8, n_head=2, summary_type=summary_type, num_labels=3, summary_proj_to_labels=True
    )
    theirs = random_weights(XLNetSequenceSummary(config))
    ours = SequenceSummary(config).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    cls_index = torch.tensor([1, 4])
    torch.testing.assert_close(ours(x, cls_index), theirs(x, cls_index), rtol=0, atol=0)
