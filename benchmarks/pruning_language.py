"""A causal language model to prune: LLaMA-shaped, small, trained for minutes on WikiText-2.

`WIKITEXT` names a folder with `valid.txt`. The first nine tenths are trained on, and the last
tenth is measured on. The model and its tokenizer are made once and kept in
`benchmarks/out/wikitext`, outside of git.
"""

import math
import os
import random
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.pruning_rows import OUT
from headsmith.files import new_folder
from headsmith.pruning import LossObjective, MatchDistribution
from headsmith.pruning.data import Batch

VOCABULARY, LENGTH, BATCH, RATE = 2048, 128, 16, 2e-3
MOST_SECONDS = int(os.environ.get("LM_SECONDS", "540"))
CALIBRATION = 192
SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
}


class Language:
    """WikiText-2, and the model that was trained on it.

    Args:
        folder: holds the text.
    """

    measures = ("perplexity", "agreement")
    main = "perplexity"
    length = LENGTH

    def __init__(self, folder: Path) -> None:
        text = (folder / "valid.txt").read_text(encoding="utf-8")
        cut = text.rindex("\n", 0, len(text) * 9 // 10)
        self.path = OUT / "wikitext"
        if not (self.path / "config.json").exists():
            self._make(text[:cut])
        self.tokenizer = AutoTokenizer.from_pretrained(self.path)
        self.trained, self.tests = (
            pieces(self.tokenizer, part) for part in (text[:cut], text[cut:])
        )
        rows = torch.randperm(len(self.trained), generator=torch.Generator().manual_seed(0))
        self.calibration = batches(self.trained[rows[:CALIBRATION]], 16)
        self._whole = self._look(self.model())[1]

    def model(self) -> nn.Module:
        """A fresh copy of the trained model."""
        return LlamaForCausalLM.from_pretrained(self.path).eval()

    def objective(self, labels: bool) -> Any:
        """The model's own loss on the next token, or the distribution it puts out."""
        return LossObjective(lambda out, batch: out.loss) if labels else MatchDistribution()

    def score(self, model: nn.Module) -> dict[str, float]:
        """Perplexity of the held-out text, and percent of tokens with the same first choice."""
        loss, choices = self._look(model)
        same = (choices == self._whole).float().mean().item()
        return {"perplexity": math.exp(loss), "agreement": 100 * same}

    def _look(self, model: nn.Module) -> tuple[float, torch.Tensor]:
        losses, choices = [], []
        with torch.inference_mode():
            for batch in batches(self.tests, 32):
                out = model(**batch, use_cache=False)
                losses.append(out.loss.item() * len(batch["labels"]))
                choices.append(out.logits[:, :-1].argmax(-1).flatten())
        return sum(losses) / len(self.tests), torch.cat(choices)

    def _make(self, text: str) -> None:
        tokenizer = train_tokenizer(text)
        rows = pieces(tokenizer, text)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY, max_position_embeddings=512, tie_word_embeddings=True, **SHAPE
        )
        config.bos_token_id = config.eos_token_id = 0
        model = LlamaForCausalLM(config).train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=RATE, weight_decay=0.1, betas=(0.9, 0.95)
        )
        # Time is that of the process, so that a busy machine trains as long as an idle one.
        begun, step = time.process_time(), 0
        order = random.Random(0)
        while (done := (time.process_time() - begun) / MOST_SECONDS) < 1:
            start = order.randrange(LENGTH)
            flat = rows.flatten()[start:]
            shifted = flat[: len(flat) // LENGTH * LENGTH].view(-1, LENGTH)
            for chosen in torch.randperm(len(shifted)).split(BATCH):
                rate = RATE * min(1.0, (step + 1) / 60) * max(0.02, 1 - done)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss = model(input_ids=shifted[chosen], labels=shifted[chosen]).loss
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                if step % 100 == 0:
                    print(f"  WikiText-2: step {step}, {done:.0%}, {loss.item():.3f}", flush=True)
                done = (time.process_time() - begun) / MOST_SECONDS
                if done >= 1:
                    break
        with new_folder(self.path, overwrite=True) as aside:
            model.eval().save_pretrained(aside)
            tokenizer.save_pretrained(aside)


def train_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Byte-level pairs, learnt from the text that the model is trained on."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    learnt.train_from_iterator(
        text.splitlines(keepends=True),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=learnt, eos_token="<|end|>", bos_token="<|end|>", pad_token="<|end|>"
    )


def pieces(tokenizer: Any, text: str) -> torch.Tensor:
    """The text in rows of `LENGTH` tokens, (rows, LENGTH)."""
    lines = tokenizer(text.splitlines(keepends=True), add_special_tokens=False)["input_ids"]
    flat = torch.tensor([token for line in lines for token in line])
    return flat[: len(flat) // LENGTH * LENGTH].view(-1, LENGTH)


def batches(rows: torch.Tensor, size: int) -> list[Batch]:
    """Rows without padding, their own labels."""
    return [
        {"input_ids": part, "attention_mask": torch.ones_like(part), "labels": part}
        for part in rows.split(size)
    ]


if __name__ == "__main__":
    task = Language(Path(os.environ["WIKITEXT"]))
    print(len(task.trained), len(task.tests), task.score(task.model()))
