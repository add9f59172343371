"""What the three poolers of the SQuAD head share."""

from __future__ import annotations

from typing import Any

import keras

from headsmith.keras.config_objects import as_config
from headsmith.keras.initializers import get_initializer
from headsmith.spec.configs import read_int

__all__ = ["Pooler", "check_states"]


def check_states(states: Any, size: int, ranks: tuple[int, ...], reader: str) -> None:
    """Refuse hidden states of another shape.

    Args:
        states: Tensor or `KerasTensor`.
        size: The hidden size.
        ranks: The numbers of dimensions that are accepted, of 3 and 4.
        reader: Who asks, for the error.

    Raises:
        ValueError: Another number of dimensions or hidden size, or no tokens.

    Example:
        >>> import keras
        >>> check_states(keras.KerasTensor((None, None, 8)), 8, (3,), "PoolerStartLogits")
    """
    shape = tuple(states.shape)
    if len(shape) not in ranks or shape[-1] not in (None, size) or shape[1] == 0:
        wanted = "(batch, seq, hidden_size)"
        if 4 in ranks:
            wanted += " or (batch, seq, starts, hidden_size)"
        raise ValueError(
            f"{reader} expects `hidden_states` of shape {wanted} with hidden_size {size} and at "
            f"least one token. Received: {shape}."
        )


class Pooler(keras.layers.Layer):  # type: ignore[misc]
    """A config of which `hidden_size` is read, its keeping, and checks of the inputs."""

    def __init__(self, config: Any, *, initializer_range: float = 0.02, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        config = as_config(config, type(self).__name__)
        self.hidden_size = read_int(config, "hidden_size", type(self).__name__)
        self.initializer_range = initializer_range
        self.supports_masking = True

    def check_states(self, states: Any, ranks: tuple[int, ...] = (3,)) -> None:
        """Refuse hidden states of another shape; see `check_states`."""
        check_states(states, self.hidden_size, ranks, type(self).__name__)

    def need_start(self, start_states: Any, start_positions: Any) -> None:
        """Refuse inputs without any start."""
        if start_states is None and start_positions is None:
            raise ValueError(
                f"{type(self).__name__} expects one of `start_states` and `start_positions`. "
                "Received: neither."
            )

    def _dense(self, units: int, name: str, *, use_bias: bool = True) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=get_initializer(self.initializer_range),
            name=name,
            dtype=self.dtype_policy,
        )

    def _fields(self) -> dict[str, Any]:
        return {"hidden_size": self.hidden_size}

    def get_config(self) -> dict[str, Any]:
        """Give the arguments, for `from_config`: of the config, the fields that are read."""
        own = {"config": self._fields(), "initializer_range": self.initializer_range}
        return {**super().get_config(), **own}

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Give none: scores are no sequence of states."""
