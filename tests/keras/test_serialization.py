"""`keras_serializable`: configs as objects and dicts, saving, loading, errors."""

import dataclasses
import json
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from headsmith.keras.serialization import keras_serializable


class OldConfig:
    """What a config of Transformers can do."""

    def __init__(self, width=4, scale=1.5):
        self.width = width
        self.scale = scale

    @classmethod
    def from_dict(cls, fields):
        return cls(**fields)

    def to_dict(self):
        return dict(vars(self))


@dataclasses.dataclass
class DataConfig:
    width: int = 4
    scale: float = 1.5


class PlainConfig:
    """Neither the one nor the other."""

    def __init__(self, width=4, scale=1.5):
        self.width = width
        self.scale = scale


def layer_of(kind):
    class Demo(keras.layers.Layer):
        config_class = kind

        def __init__(self, config, extra=1, **kwargs):
            super().__init__(**kwargs)
            self.width, self.scale, self.extra = config.width, config.scale, extra
            self.dense = keras.layers.Dense(config.width, dtype=self.dtype_policy)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x) * self.scale

    return keras_serializable(Demo)


@pytest.fixture(params=[OldConfig, DataConfig, PlainConfig])
def demo(request):
    yield layer_of(request.param)
    keras.saving.get_custom_objects().pop("Custom>Demo")


SCENARIOS = {
    "Demo(config_object)": lambda d, c: d(c(width=7)),
    "Demo(config=config_object)": lambda d, c: d(config=c(width=7)),
    "Demo(config={'width': 9})": lambda d, c: d(config={"width": 9}),
    "Demo({'width': 9})": lambda d, c: d({"width": 9}),
    "Demo()": lambda d, c: d(),
    "Demo(config=3)": lambda d, c: d(config=3),
    "Demo(config_object, extra=5, name='n').get_config()": lambda d, c: d(c(), extra=5, name="n"),
    "Demo(config_object, 5).get_config()": lambda d, c: d(c(), 5),
    "Demo.from_config(Demo(DemoConfig(width=8), extra=6, name='q').get_config())": lambda d, c: (
        d.from_config(d(c(width=8), extra=6, name="q").get_config())
    ),
    "class attributes": lambda d, c: d,
    "decorating a layer without config_class": lambda d, c: keras_serializable(
        type("Bare", (keras.layers.Layer,), {})
    ),
    "decorating a class without get_config": lambda d, c: keras_serializable(
        type("Bare", (), {"config_class": c})
    ),
}


@pytest.mark.golden("tf_keras_serializable")
def test_recorded(case, demo, golden):
    run = SCENARIOS[case["scenario"]]
    if "raises" in case:
        with pytest.raises(Exception) as raised:  # noqa: PT011 (the case says which)
            run(demo, demo.config_class)
        golden.assert_raised(raised.value, case["raises"])
        assert "Received: " in str(raised.value)
        return
    made, expected = run(demo, demo.config_class), dict(case["outputs"])
    if "keys" in expected:
        config = made.get_config()
        assert sorted(config) == expected["keys"]
        assert type(config["config"]).__name__ == expected["config_type"]
        assert config["extra"] == expected["extra"]
    elif "has_extra" in expected:
        assert ("extra" in made.get_config()) == expected["has_extra"]
    elif "registered_as" in expected:
        assert made._keras_serializable is expected["_keras_serializable"]
        assert made.__name__ == expected["class_name"]
        objects = keras.saving.get_custom_objects()
        assert [k for k, v in objects.items() if v is made] == expected["registered_as"]
    else:
        assert {key: getattr(made, key) for key in expected} == expected


def test_a_model_is_saved_and_loaded(demo, tmp_path, rng):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, demo(demo.config_class(width=2), extra=4, name="d")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = rng.normal(size=(5, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    assert loaded.get_layer("d").extra == 4


def test_the_key_of_the_documentation_is_read(demo, tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, demo(demo.config_class(width=2), name="d")(inputs))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as old:
        files = {name: old.read(name) for name in old.namelist()}
    told = json.loads(files["config.json"])
    (layer,) = [x for x in told["config"]["layers"] if x["class_name"] == "Demo"]
    layer["config"]["transformers_config"] = layer["config"].pop("config")
    files["config.json"] = json.dumps(told).encode()
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as new:
        for name, content in files.items():
            new.writestr(name, content)
    assert keras.saving.load_model(tmp_path / "old.keras").get_layer("d").width == 2


def test_the_config_of_mixed_precision_comes_back(demo):
    layer = demo(demo.config_class(), dtype="mixed_bfloat16")
    assert demo.from_config(layer.get_config()).dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"config": {"width": 1}, "transformers_config": {"width": 1}}, "two"),
        ({"config": [1]}, "a list"),
        ({"config": SimpleNamespace(width=1)}, "a SimpleNamespace"),
    ],
)
def test_what_is_no_config(demo, arguments, received):
    with pytest.raises(ValueError, match=f"Must pass either.*Received: {received}"):
        demo(**arguments)


def test_two_configs(demo):
    with pytest.raises(ValueError, match="one by place and one by keyword"):
        demo(demo.config_class(), config={"width": 1})


def test_a_dict_the_config_does_not_take():
    demo = layer_of(DataConfig)
    with pytest.raises(TypeError, match=r"what DataConfig takes. Received: \['depth'\]"):
        demo(config={"depth": 3})
