from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from headsmith.spec.configs import (
    SquadHeadConfig,
    SummaryConfig,
    read_squad_config,
    read_summary_config,
)

SQUAD = {"hidden_size": 8, "layer_norm_eps": 1e-5, "start_n_top": 3, "end_n_top": 2}


@dataclass
class Home:
    hidden_size: int = 8
    layer_norm_eps: float = 1e-5
    start_n_top: int = 3
    end_n_top: int = 2


@pytest.mark.parametrize(
    "config",
    [
        SimpleNamespace(**SQUAD),
        Home(),
        SquadHeadConfig(**SQUAD),
        type("Class", (), SQUAD),
        SimpleNamespace(**SQUAD | {"hidden_size": np.int64(8)}),
    ],
)
def test_any_object_will_do(config):
    assert read_squad_config(config) == SquadHeadConfig(**SQUAD)


@pytest.mark.parametrize("name", SQUAD)
def test_a_missing_field_is_named(name):
    config = SimpleNamespace(**{k: v for k, v in SQUAD.items() if k != name})
    with pytest.raises(AttributeError) as raised:
        read_squad_config(config)
    assert str(raised.value) == (
        f"SQuADHead reads `{name}` from its config. Received: a SimpleNamespace without it. "
        f"Set `config.{name}`, or use a config of headsmith.spec.configs."
    )


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("hidden_size", 8.5, TypeError, "`config.hidden_size` to be a whole number. Received: 8.5"),
        ("hidden_size", True, TypeError, "whole number. Received: True"),
        ("hidden_size", None, TypeError, "whole number. Received: None"),
        ("start_n_top", 0, ValueError, "`config.start_n_top` to be 1 or more. Received: 0"),
        ("layer_norm_eps", "small", TypeError, "to be a number. Received: 'small'"),
        ("layer_norm_eps", None, TypeError, "to be a number. Received: None"),
        ("layer_norm_eps", float("nan"), ValueError, "Received: nan"),
    ],
)
def test_a_wrong_field_is_named(field, value, error, message):
    with pytest.raises(error, match=message):
        read_squad_config(SimpleNamespace(**SQUAD | {field: value}))


def test_a_summary_config_may_be_empty():
    assert read_summary_config(SimpleNamespace()) == SummaryConfig()
    nones = {name: None for name in SummaryConfig.__dataclass_fields__ if name != "summary_type"}
    assert read_summary_config(SimpleNamespace(**nones)) == SummaryConfig()


def test_what_a_summary_needs_depends():
    labels = SimpleNamespace(summary_use_proj=True, summary_proj_to_labels=True, hidden_size=4)
    with pytest.raises(AttributeError, match="`num_labels`"):
        read_summary_config(labels)
    labels.num_labels = 3
    assert read_summary_config(labels).num_labels == 3
    labels.num_labels = -1  # as in 4.34: no labels, so the projection is to hidden_size
    assert read_summary_config(labels).num_labels == 0
    with pytest.raises(AttributeError, match="`hidden_size`"):
        read_summary_config(SimpleNamespace(summary_use_proj=True))


@pytest.mark.parametrize("name", ["summary_first_dropout", "summary_last_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_dropout_is_a_probability(name, value):
    with pytest.raises(ValueError, match=f"`config.{name}` to be between 0.0 and 1.0"):
        read_summary_config(SimpleNamespace(**{name: value}))


def test_an_activation_is_a_name():
    with pytest.raises(TypeError, match=r"to be a name or None. Received: 3"):
        read_summary_config(SimpleNamespace(summary_activation=3))
