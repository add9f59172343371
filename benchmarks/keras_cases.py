"""What is timed of the Keras wing: a table of cases, as plain data that every process reads."""

from dataclasses import dataclass
from typing import Any

VOCABULARY, WIDTH = 50257, 768

ALLOCATORS = {
    "": {},
    "freed memory kept": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "1000000000000",
        "MALLOC_ARENA_MAX": "1",
    },
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}
"""Environment variables by what they make of glibc's memory."""


@dataclass(frozen=True)
class KerasCase:
    """One row of the table.

    Attributes:
        name: What is called.
        setting: Shapes, for people.
        work: Name of the function in `keras_work.py` that builds it, of either side.
        arguments: What that function is given.
        backend: Keras backend of ours.
        mode: "eager", "graph" or "compiled", of ours.
        other: What ours stands beside: "4.34", "logits", the same backend with the logits built,
            or "formula", 4.34's formula on the same TensorFlow.
        weigh: Whether to measure peak memory as well.
        allocator: What glibc is told, on both sides; a key of `ALLOCATORS`. As it comes it gives
            large tensors back, and JAX has each page of the next one made anew; TensorFlow keeps
            them by itself.
        donate: Whether the gradient of the last call is donated to the next one, which writes
            its own there. That is how training on JAX keeps its memory.
    """

    name: str
    setting: str
    work: str
    arguments: dict[str, Any]
    backend: str
    mode: str
    other: str = "4.34"
    weigh: bool = False
    allocator: str = ""
    donate: bool = False

    @property
    def other_mode(self) -> str:
        """4.34 runs in the same mode; beside JAX and PyTorch it is compiled."""
        return self.mode if self.backend == "tensorflow" else "compiled"


def cases() -> list[KerasCase]:
    """Give all rows, the quickest last."""
    rows = [
        KerasCase(
            "causal LM loss",
            f"2×512×{VOCABULARY} logits, forward + backward",
            "sequence_loss",
            {"name": "CausalLanguageModeling", "shape": [2, 512, VOCABULARY]},
            backend,
            "compiled",
            allocator=allocator,
            donate=donate,
        )
        for backend, allocator, donate in (
            ("tensorflow", "", False),
            ("jax", "", False),
            ("jax", "", True),
            ("jax", "huge pages", False),
            ("jax", "freed memory kept", False),
        )
    ]
    natural = {"tensorflow": "compiled", "jax": "compiled", "torch": "eager"}
    for batch, share in ((2, 0.15), (8, 1.0)):
        rows += [
            KerasCase(
                "masked LM loss from hidden states" if share < 1 else "LM loss from hidden states",
                f"{batch}×512×{WIDTH}→{VOCABULARY}, {share:.0%} labelled, forward + backward",
                "from_hidden",
                {"batch": batch, "share": share},
                backend,
                mode,
                other="logits",
                weigh=True,
            )
            for backend, mode in natural.items()
        ]
    small = [
        ("masked LM loss", "4×128×30522", "sequence_loss", "MaskedLanguageModeling"),
        ("token classification loss", "32×384×9", "sequence_loss", "TokenClassification"),
        ("sequence classification loss", "256×5", "example_loss", "SequenceClassification"),
        ("multiple choice loss", "64×4", "example_loss", "MultipleChoice"),
        ("QA loss", "32×384", "span_loss", "QuestionAnswering"),
    ]
    for mode in ("eager", "graph", "compiled"):
        for title, shape, work, name in small:
            sizes = [int(size) for size in shape.split("×")]
            told = f"{shape} logits, forward + backward"
            rows.append(
                KerasCase(title, told, work, {"name": name, "shape": sizes}, "tensorflow", mode)
            )
        rows += [
            KerasCase(
                "TFConv1D", "8×512×768→2304, forward", "conv1d", {}, "tensorflow", mode, other
            )
            for other in (("4.34", "formula") if mode == "compiled" else ("4.34",))
        ]
        rows.append(
            KerasCase(
                "TFSequenceSummary", "32×384×768, cls_index", "summary", {}, "tensorflow", mode
            )
        )
    return rows
