"""Entries whose configs are absurd: no number in them takes the memory, or the day."""

from __future__ import annotations

import copy

import pytest
import torch
from fuzzing import judging

from dgmcore import plugins
from dgmcore.errors import DgmError
from dgmcore.files.safetensors import TensorInfo
from dgmcore.loading import load as loading
from dgmcore.loading.load import memory_limit


def examples():
    """Yields each architecture that is built from a config alone, with a small one."""
    for name in sorted(plugins.architectures()):
        kind = plugins.architecture(name)
        if not kind.Parts and getattr(kind, "example", None) is not None:
            yield name, dict(kind.example)


def test_fuzz_configs(tmp_path):
    """A config is built as far as the file of the true weights allows, or refused."""
    chosen = list(examples())
    models = {name: loading.build(name, config, init=False) for name, config in chosen}
    headers = {name: header_of(model) for name, model in models.items()}
    with judging("configs", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            name, config = chosen[i % len(chosen)]
            config = mutate.tree({**models[name].config_dict(), **copy.deepcopy(config)})

            def build(name=name, config=config):
                with memory_limit(headers[name], name):
                    return loading.build(name, config, init=False)

            judge(build, (name, config))
    assert judge.accepted > 20 and judge.refused > 100


def header_of(model):

    end = sum(t.numel() * t.element_size() for t in model.own_state().values())
    return {key: TensorInfo("F32", tuple(t.shape), (0, end)) for key, t in model.own_state().items()}


def test_a_model_may_not_outgrow_its_weights(toys):
    model = loading.build("toy-shift", {"width": 100})
    model.save(toys / "registry" / "toy", name="toy", license="mit", data={"dataset": "moons", "event_shape": [2]})
    path = toys / "registry" / "toy" / "model.yaml"
    text = path.read_text()
    assert loading.load("toy").bulk.weight.shape == (2, 100)
    for width in (10**9, 10**15, 10**19, -1):
        path.write_text(text.replace("width: 100", f"width: {width}"))
        with pytest.raises(DgmError, match=r"larger than its weights|can.t be built|config of Shift"):
            loading.load(path.parent)
    assert not torch.nn.modules.module._global_parameter_registration_hooks, "nothing is left behind"
