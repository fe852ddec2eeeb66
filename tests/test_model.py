"""The base class of models: configs, options, parts."""

from __future__ import annotations

import pytest
import torch
from conformance_models import Good

from dgmcore import Config, Model, Options
from dgmcore.errors import DgmError, OptionError, UsageError


class Pair(Model):
    """Needs a generator that is a function of noise, and a critic."""

    Parts = {"base": ("pushforward",), "critic": ("critic",)}

    class Config(Config):
        scale: float = 1.0

    class Sampling(Options):
        steps: int = 10


def test_options_do_not_take_over_the_config():
    """In a class body the nested Config hides the imported one; inheriting from it by mistake is an error."""

    with pytest.raises(TypeError, match=r"class Sampling\(Options\)"):

        class Wrong(Model):
            class Config(Config):
                scale: float = 1.0

            class Sampling(Config):
                steps: int = 10

    assert Pair.Sampling.__struct_fields__ == ("steps",)


def test_unknown_config_key_is_answered_with_the_nearest():
    with pytest.raises(DgmError, match=r"unknown key scael.*did you mean scale"):
        Good({"scael": 1.0})
    with pytest.raises(DgmError, match=r"scale.*expected `float`, got `str`"):
        Good({"scale": "wide"})


def test_options_merge_defaults_of_class_entry_and_call():
    model = Pair(base=Good(), critic=Good())
    assert model.sampling().steps == 10
    model.set_sampling_defaults({"steps": 20})
    assert model.sampling().steps == 20 and model.sampling({"steps": 30}).steps == 30
    with pytest.raises(OptionError, match="steps"):
        model.sampling({"stesp": 1})


def test_parts_are_asked_for_by_capability():
    class Mute(Model):
        pass

    with pytest.raises(UsageError, match="needs the part critic"):
        Pair(base=Good())
    with pytest.raises(UsageError, match="has no part friend"):
        Pair(base=Good(), critic=Good(), friend=Good())
    with pytest.raises(UsageError, match="is no critic"):
        Pair(base=Good(), critic=Mute())


def test_shared_parts_and_ties_are_not_in_the_models_own_file():
    model = Pair(base=Good(), critic=Good())
    assert {n.split(".")[1] for n in model.own_state()} == {"base", "critic"}
    model.shared_parts["base"] = "somebody-else"
    assert {n.split(".")[1] for n in model.own_state()} == {"critic"}
    tied = Good()
    tied.again = torch.nn.Module()
    tied.again.mean = tied.mean
    assert "mean" in tied.own_state() and "again.mean" not in tied.own_state()
