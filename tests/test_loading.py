"""Building and loading models: parts, sharing, the random state, devices and types."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch

import dgmcore
from dgmcore import IndexedNoise
from dgmcore.entry import read_entry
from dgmcore.errors import DgmError, OptionError, RegistryError, UsageError, WeightsError
from dgmcore.loading.load import build

DATA = {"dataset": "moons", "event_shape": [2]}


def make(home, name, architecture="toy-shift", config=None, parts=None, value=1.0, **entry):
    model = build(architecture, config, parts)
    if hasattr(model, "shift"):
        torch.nn.init.constant_(model.shift, value)
    return model.save(home / "registry" / name, name=name, license="mit", data=DATA, **entry)


def test_load_returns_the_model_as_it_was_saved(toys):
    folder = make(toys, "toy", config={"width": 4}, value=2.0, summary="A toy")
    for name in ("toy", folder, str(folder), f"{folder}/", "environment/toy"):
        model = dgmcore.load(name)
        assert model.shift.tolist() == [2.0, 2.0], name
        assert not model.training and model.entry.summary == "A toy"
    assert model.config_dict() == {"dim": 2, "width": 4}


def test_the_entry_is_complete_and_stable(toys):
    folder = make(toys, "toy")
    entry = read_entry(folder)
    assert entry.config == {"dim": 2, "width": 1}, "defaults are stored"
    first = (folder / "model.yaml").read_bytes(), (folder / "model.safetensors").read_bytes()
    dgmcore.load("toy").save(folder, name="toy", license="mit", data=DATA)
    assert ((folder / "model.yaml").read_bytes(), (folder / "model.safetensors").read_bytes()) == first
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "model.yaml"]
    assert [p.name for p in folder.parent.iterdir()] == ["toy"], "no temporary folder is left"


def test_an_entry_is_read_as_it_was_written(toys):
    model = build("toy-shift", {"width": 3})
    about = {"name": "mine", "license": "mit", "data": {"dataset": "moons", "event_shape": [2]}}
    for summary in ("\u2028x", "a\x1b[31m", " lead: # x", "2024-01-01", "~"):
        assert dgmcore.load(model.save(toys / "mine", **about, summary=summary)).entry.summary == summary
    before = (toys / "mine" / "model.yaml").read_bytes()
    with pytest.raises(DgmError, match="entry mine would be read as something else"):
        model.save(toys / "mine", **about, summary="a\x85b")  # a line end of YAML
    assert (toys / "mine" / "model.yaml").read_bytes() == before


def test_a_failed_save_leaves_what_was_there(toys):
    folder = make(toys, "toy")
    before = (folder / "model.yaml").read_bytes()
    for wrong in ({"name": "Not A Name"}, {"metrics": [{"value": 3}]}, {"samples_png": toys / "nothing.png"}):
        with pytest.raises((DgmError, OSError)):
            dgmcore.load("toy").save(folder, **{"name": "toy", "license": "mit", "data": DATA, **wrong})
        assert (folder / "model.yaml").read_bytes() == before
        assert [p.name for p in folder.parent.iterdir()] == ["toy"]


def test_the_global_random_state_is_untouched(toys):
    make(toys, "toy")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dgmcore.load("toy")
    build("toy-shift", init=False)
    assert torch.equal(torch.rand(3), expected)


def test_initialisation_is_skipped_in_the_loading_thread_only(toys):
    from dgmcore.loading.load import skip_init

    seen = {}

    def other():
        torch.manual_seed(0)
        seen["other"] = torch.nn.Linear(4, 4).weight.detach().clone()

    before = torch.nn.init.kaiming_uniform_
    with skip_init():
        w = torch.full((2, 2), 7.0)
        assert torch.equal(torch.nn.init.normal_(w), torch.full((2, 2), 7.0))
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert torch.nn.init.kaiming_uniform_ is before
    torch.manual_seed(0)
    assert torch.equal(torch.nn.Linear(4, 4).weight, seen["other"])


def test_parts_that_are_entries_are_shared_frozen_and_not_stored(toys):
    make(toys, "left", value=3.0)
    folder = make(toys, "pair", "toy-pair", parts={"first": "left", "second": "left"})
    assert set(read_entry(folder).parts.items()) == {("first", "left"), ("second", "left")}
    model = dgmcore.load("pair")
    assert model.parts["first"] is model.parts["second"]
    assert list(model.own_state()) == ["scale"]
    assert not model.parts["first"].shift.requires_grad and model.scale.requires_grad
    model.train()
    assert model.training and not model.parts["first"].training
    make(toys, "left", value=4.0)  # the part's weights are its own entry's
    assert dgmcore.load("pair").parts["first"].shift.tolist() == [4.0, 4.0]


def test_own_parts_are_stored_in_the_models_file(toys):
    make(toys, "left", value=3.0)
    own = {"architecture": "toy-shift", "config": {"width": 2}}
    inner = {"architecture": "toy-pair", "parts": {"first": own, "second": "left"}}
    folder = make(toys, "pair", "toy-pair", parts={"first": inner, "second": own})
    model = dgmcore.load("pair")
    names = set(model.own_state())
    assert "parts.first.parts.first.shift" in names and "parts.second.shift" in names
    assert not any("parts.first.parts.second" in n for n in names), "a shared part of an own part is not stored"
    assert read_entry(folder).parts["first"].parts["second"] == "left"
    assert model.parts["first"].parts["second"].shift.tolist() == [3.0, 3.0]


def test_a_circle_of_parts_is_an_error(toys):
    make(toys, "left")
    folder = make(toys, "pair", "toy-pair", parts={"first": "left", "second": "left"})
    other = make(toys, "other", "toy-pair", parts={"first": "pair", "second": "left"})
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("second: left", "second: other"))
    for start in (folder, other):
        with pytest.raises(RegistryError, match=r"-> "):
            dgmcore.load(start)
        with pytest.raises(RegistryError, match=r"-> "):
            dgmcore.pull(str(start))


def test_a_long_chain_of_parts_is_an_error(toys):
    folder = make(toys, "left")
    pair = make(toys, "pair", "toy-pair", parts={"first": "left", "second": "left"})
    text = (pair / "model.yaml").read_text()
    for i in range(800):
        shutil.copytree(pair, toys / "chain" / f"c{i}")
        below = f"{toys}/chain/c{i + 1}" if i < 799 else str(folder)
        named = text.replace("name: pair", f"name: c{i}").replace("first: left", f"first: {below}")
        (toys / "chain" / f"c{i}" / "model.yaml").write_text(named)
    for call in (dgmcore.load, lambda path: dgmcore.pull(str(path))):
        with pytest.raises(RegistryError, match=r"c0 has parts of parts, more than 32 deep"):
            call(toys / "chain" / "c0")


def test_parts_must_fit(toys):
    make(toys, "left")
    with pytest.raises(UsageError, match="needs the part second"):
        build("toy-pair", {}, {"first": "left"})
    with pytest.raises(UsageError, match="has no part third"):
        build("toy-pair", {}, {"first": "left", "second": "left", "third": "left"})


def test_sampling_defaults_come_from_the_entry(toys):
    folder = make(toys, "toy")
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text + "sampling: {nothing: 3}\n")
    with pytest.raises((RegistryError, OptionError), match="nothing"):
        dgmcore.load("toy")


def test_the_outermost_entry_says_which_version_of_the_noise_draws(toys):
    folder = make(toys, "toy", value=2.0)
    assert "noise" not in (folder / "model.yaml").read_text(), "an entry of version 1 is as it was"
    model = dgmcore.load("toy")
    model.noise_version = 2
    model.save(folder.parent / "new", name="new", license="mit", data=DATA)
    assert "noise: 2\n" in (folder.parent / "new" / "model.yaml").read_text()
    for version, name in ((1, "toy"), (2, "new")):
        noise = IndexedNoise(1, 3, version=version)
        assert dgmcore.info(name)["noise"] == version
        assert torch.equal(dgmcore.sample(name, 3, seed=1), noise.normal(2, name="z") + 2)
    pair = build("toy-pair", {}, {"first": "toy", "second": "new"})
    pair.save(folder.parent / "pair", name="pair", license="mit", data=DATA)
    model, noise = dgmcore.load("pair"), IndexedNoise(1, 3)
    assert model.noise_version == 1 and model.parts["second"].noise_version == 2
    both = [noise.child(part).normal(2, name="z") + 2 for part in ("first", "second")]
    assert torch.equal(dgmcore.sample(model, 3, seed=1), both[0] + both[1])


def test_devices_and_types(toys):
    make(toys, "toy", value=1.25)
    model = dgmcore.load("toy", dtype=torch.float64)
    assert model.dtype is torch.float64 and model.steps.dtype is torch.int64
    assert dgmcore.load("toy", dtype="bfloat16").shift.dtype is torch.bfloat16
    assert dgmcore.load("toy", device="meta").shift.device.type == "meta"
    for wrong in ({"dtype": "float99"}, {"dtype": torch.int64}, {"device": "nonsense"}):
        with pytest.raises(UsageError):
            dgmcore.load("toy", **wrong)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("event_shape: [1]", r"\[1\] is not the model's, which is \[2\]"),
        ("event_shape: [1, 2]", "is not the model's"),
        ("event_shape: [1000000]", "is not the model's"),
        ("event_shape: [2]\n  levels: 0", "levels"),
        ("event_shape: [2]\n  levels: -5", "levels"),
        ("event_shape: [2]\n  range: [0.0, 1.0e+300]", "range"),
        ("event_shape: [2]\n  range: [-1.0e+7, 1.0]", "range"),
    ],
)
def test_an_entry_says_of_its_data_what_is_so(toys, data, words):
    folder = make(toys, "toy")
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("event_shape: [2]", data))
    with pytest.raises(RegistryError, match=words):
        dgmcore.load(folder)


def test_the_default_dtype_of_a_program_changes_nothing(toys):
    make(toys, "toy", value=1.25)
    torch.set_default_dtype(torch.float64)
    try:
        model = dgmcore.load("toy")
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.dtype is torch.float32 and model.shift.tolist() == [1.25, 1.25]


@pytest.mark.parametrize("state", [torch.inference_mode, torch.no_grad, lambda: torch.device("meta")])
def test_a_model_is_loaded_as_if_a_program_had_changed_nothing(toys, state):
    make(toys, "toy", value=1.25)
    with state():
        model = dgmcore.load("toy")
    assert model.shift.device.type == "cpu" and model.shift.tolist() == [1.25, 1.25]
    assert not model.shift.is_inference()  # outside inference mode gradients can pass through it
    model.requires_grad_(True).shift.sum().backward()


def test_weights_of_another_config_do_not_load(toys):
    folder = make(toys, "toy", config={"width": 3})
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("width: 3", "width: 5"))
    with pytest.raises(WeightsError, match=r"bulk.weight has the shape \[2, 3\], not \[2, 5\]"):
        dgmcore.load("toy")


def test_unknown_names(toys):
    make(toys, "toy")
    with pytest.raises(DgmError, match="toi") as caught:
        dgmcore.load("toi")
    assert "toy" in caught.value.hint
