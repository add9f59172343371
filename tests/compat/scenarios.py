"""What is done with each test model, the same under Transformers 4.34.0 and now.

A scenario gives arrays by name. `record.py` runs it under 4.34.0 and keeps them; the tests run
it again and compare.
"""

import zlib

import numpy as np
import torch

__all__ = ["SCENARIOS", "fill"]


def fill(model):
    """Give every weight values that depend on its name and shape alone."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            random = np.random.RandomState(zlib.crc32(name.encode()))
            values = random.standard_normal(parameter.shape).astype(np.float32)
            size = 0.4 if parameter.ndim > 1 else 0.1
            ones = "norm" in name.lower() and name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(torch.from_numpy(values * size + (1.0 if ones else 0.0)))
    return model.eval()


def ids(rows, columns, high, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).randint(3, high, (rows, columns)))


def floats(*shape, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"grad/{name}"] = parameter.grad.double().pow(2).sum().sqrt()
    return found


def two_way(module):
    model = fill(module.TwoWayLMHeadModel(module.make_config()))
    tokens = ids(2, 7, 31)
    mask = torch.ones(2, 7)
    mask[1, 5:] = 0
    image = floats(2, 4, 10)
    out = {"keys": np.array(sorted(model.state_dict()))}
    result = model(
        tokens, mask, labels=tokens, encoder_hidden_states=image, output_attentions=False
    )
    out["loss"], out["logits"] = result.loss, result.logits
    out.update(_gradients(model, result.loss))
    with torch.no_grad():
        encoder = fill(module.TwoWayModel(module.make_config()))
        queries = floats(2, 3, 16, seed=1)
        plain = encoder(tokens, query_embeds=queries, output_attentions=True)
        out["encoded"], out["pooled"] = plain.last_hidden_state, plain.pooler_output
        out["attention"] = plain.attentions[0]
        heads = torch.tensor([1.0, 0.0, 0.5, 1.0])
        out["head_mask"] = encoder(tokens, head_mask=heads).last_hidden_state
        chunked = module.make_config()
        chunked.chunk_size_feed_forward = 1
        out["chunked"] = fill(module.TwoWayModel(chunked))(tokens).last_hidden_state
        prompt = tokens[:, :3]
        common = {"encoder_hidden_states": image, "max_length": 9, "do_sample": False}
        out["greedy"] = model.generate(prompt, **common)
        out["beams"] = model.generate(
            prompt,
            encoder_hidden_states=image.repeat_interleave(1, 0),
            max_length=9,
            num_beams=3,
            do_sample=False,
            length_penalty=0.0,  # 4.34 counted the prompt as length
        )
        # The prompt counts as length, and a prompt is done by the rule of 4.34.
        for penalty, early in ((1.0, False), (2.0, True), (-1.0, "never")):
            found = model.generate(
                prompt,
                num_beams=3,
                num_return_sequences=2,
                length_penalty=penalty,
                early_stopping=early,
                eos_token_id=[5, 7],
                pad_token_id=0,
                output_scores=True,
                return_dict_in_generate=True,
                **common,
            )
            out[f"beams/{penalty}"] = found.sequences
            out[f"beam_scores/{penalty}"] = found.sequences_scores
        torch.manual_seed(0)
        sampled = {**common, "do_sample": True}
        out["beam_sample"] = model.generate(
            prompt, num_beams=2, temperature=0.7, top_k=5, min_length=6, eos_token_id=5,
            pad_token_id=0, **sampled,
        )  # fmt: skip
        out["twenty"] = model.generate(prompt, encoder_hidden_states=image, do_sample=False)
        embedded = {k: v for k, v in common.items() if k != "max_length"}
        out["too_long"] = model.generate(tokens, max_length=5, **embedded)
        out["no_cache"] = model.generate(prompt, use_cache=False, **common)
        model.prune_heads({0: [1], 2: [0, 3]})
        out["pruned"] = model(tokens, mask, encoder_hidden_states=image).logits
        model.prune_heads({0: [1, 2], 1: [3]})
        out["pruned_twice"] = model(tokens, mask, encoder_hidden_states=image).logits
        out["pruned_greedy"] = model.generate(prompt, **common)
    return model, out


def gpt_like(module):
    model = fill(module.GPTLikeDoubleHeadsModel(module.make_config()))
    choices = ids(4, 6, 29).view(2, 2, 6)
    out = {"keys": np.array(sorted(model.state_dict()))}
    last = torch.tensor([[5, 4], [3, 5]])
    result = model(
        choices, mc_token_ids=last, labels=choices, mc_labels=torch.tensor([0, 1]), use_cache=False
    )
    out["loss"], out["mc_loss"] = result.loss, result.mc_loss
    out["logits"], out["choices"] = result.logits, result.mc_logits
    out.update(_gradients(model, result.loss + result.mc_loss))
    model.transformer.parallelize()
    out["device_map"] = np.array(model.transformer.device_map[0])
    with torch.no_grad():
        prompt = ids(2, 4, 29, seed=1)
        padded = torch.ones_like(prompt)
        prompt[0, :2], padded[0, :2] = 0, 0
        common = {"attention_mask": padded, "max_length": 10, "do_sample": False}
        out["greedy"] = model.generate(prompt, **common)
        out["unpadded"] = model.generate(prompt[1:], max_length=9, do_sample=False)
        out["beams"] = model.generate(prompt, num_beams=2, **common)
        mask = torch.tensor([[1.0, 0.0, 1.0], [0.5, 1.0, 0.0]])
        out["head_mask"] = model(prompt, head_mask=mask).logits
        model.prune_heads({0: [1]})
        out["pruned"] = model(prompt).logits
        model.prune_heads({0: [2], 1: [0, 1]})
        out["pruned_twice"] = model(prompt).logits
        out["pruned_greedy"] = model.generate(prompt, **common)
    return model, out


def t5_like(module):
    model = module.T5LikeForConditionalGeneration(module.make_config())
    out = {
        "initial_wi": model.encoder.block[0].layer[-1].wi.weight,
        "keys": np.array(sorted(model.state_dict())),
    }
    fill(model)
    tokens, labels = ids(2, 6, 27), ids(2, 5, 27, seed=1)
    mask = torch.ones(2, 6)
    mask[0, 4:] = 0
    result = model(tokens, mask, labels=labels)
    out["loss"], out["logits"] = result.loss, result.logits
    out.update(_gradients(model, result.loss))
    with torch.no_grad():
        common = {"attention_mask": mask, "max_length": 8, "do_sample": False}
        out["greedy"] = model.generate(tokens, **common)
        out["beams"] = model.generate(tokens, num_beams=3, **common)
        out["head_mask"] = model(
            tokens, decoder_input_ids=labels, head_mask=torch.tensor([0.0, 1.0, 0.5])
        ).logits
        model.prune_heads({0: [0], 1: [2]})
        out["pruned"] = model(tokens, mask, decoder_input_ids=labels).logits
        model.prune_heads({1: [0]})
        out["pruned_twice"] = model(tokens, mask, decoder_input_ids=labels).logits
    return model, out


def spans(module):
    model = fill(module.SpansForQuestionAnswering(module.make_config()))
    tokens = ids(2, 8, 23)
    mask = torch.ones(2, 8)
    mask[1, 6:] = 0
    out = {"keys": np.array(sorted(model.state_dict()))}
    answer, summary, mems = model(
        tokens,
        mask,
        start_positions=torch.tensor([1, 2]),
        end_positions=torch.tensor([3, 5]),
        cls_index=torch.tensor([7, 5]),
        is_impossible=torch.tensor([0.0, 1.0]),
    )
    out["loss"], out["summary"], out["memory"] = answer.loss, summary, mems[1]
    out.update(_gradients(model, answer.loss))
    with torch.no_grad():
        answer, _, _ = model(tokens, mask, cls_index=torch.tensor([7, 5]), p_mask=1 - mask)
        for name in ("start_top_log_probs", "start_top_index", "end_top_log_probs",
                     "end_top_index", "cls_logits"):  # fmt: skip
            out[name] = getattr(answer, name)
        out["remembered"] = model(tokens, mask, mems)[1]
    return model, out


SCENARIOS = {"two_way": two_way, "gpt_like": gpt_like, "t5_like": t5_like, "spans": spans}
"""Test model's module → what is done with it; gives the model and the arrays."""
