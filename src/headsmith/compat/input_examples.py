"""Examples and features of classification, as Transformers 4 held them.

Old training scripts and prompt libraries pass these around; data sets are read by the datasets
library today.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from os import PathLike
from typing import Any

__all__ = ["DataProcessor", "InputExample", "InputFeatures"]


@dataclasses.dataclass
class InputExample:
    """One text or pair of texts, with its label.

    Args:
        guid: what tells it from the others.
        text_a: the text, or the first of a pair.
        text_b: the second of a pair.
        label: the class, or None where it is not known.

    Example:
        >>> from headsmith.compat.input_examples import InputExample
        >>> print(InputExample("1", "a text", label="good").to_json_string(), end="")
        {
          "guid": "1",
          "text_a": "a text",
          "text_b": null,
          "label": "good"
        }
    """

    guid: str
    text_a: str
    text_b: str | None = None
    label: str | None = None

    def to_json_string(self) -> str:
        """JSON, indented by two, and a line end."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


@dataclasses.dataclass(frozen=True)
class InputFeatures:
    """What a model takes for one example.

    Args:
        input_ids: token ids.
        attention_mask: 1 for tokens, 0 for padding.
        token_type_ids: which text of a pair each token is of.
        label: the class, or a number to be predicted.
    """

    input_ids: list[int]
    attention_mask: list[int] | None = None
    token_type_ids: list[int] | None = None
    label: int | float | None = None

    def to_json_string(self) -> str:
        """JSON in one line, and a line end."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


class DataProcessor:
    """What reads one data set; a base class whose methods are to be written."""

    def get_example_from_tensor_dict(self, tensor_dict: dict[str, Any]) -> InputExample:
        """One example out of tensors."""
        raise NotImplementedError

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        """What is trained on."""
        raise NotImplementedError

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        """What is evaluated on."""
        raise NotImplementedError

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        """What is tested on."""
        raise NotImplementedError

    def get_labels(self) -> list[str]:
        """The classes."""
        raise NotImplementedError

    def tfds_map(self, example: InputExample) -> InputExample:
        """The example with its label named, where the data set numbers it.

        Args:
            example: changed in place.
        """
        if len(self.get_labels()) > 1 and example.label is not None:
            example.label = self.get_labels()[int(example.label)]
        return example

    @classmethod
    def _read_tsv(
        cls, input_file: str | PathLike[str], quotechar: str | None = None
    ) -> list[list[str]]:
        with open(input_file, encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, delimiter="\t", quotechar=quotechar))
