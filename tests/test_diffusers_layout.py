"""Models in diffusers' own layout: converted from folders and files, and pulled from a Hub as the public ones are."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

import dgmcore
from dgmcore.entry import read_entry, write_entry
from dgmcore.errors import DgmError
from dgmcore.files.verify import sha256_of
from dgmcore.noise import IndexedNoise
from dgmcore.registry.find import find

diffusers = pytest.importorskip("diffusers")

REGISTRY = Path(__file__).parent.parent / "registry"
PUBLIC = {
    "ddpm-cifar10": ("google/ddpm-cifar10-32", 35_746_307),
    "ddpm-celebahq": ("google/ddpm-celebahq-256", 113_673_219),
    "ddpm-church": ("google/ddpm-church-256", 113_673_219),
}
TINY = {
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": None,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "downsample_padding": 0,
    "norm_eps": 1e-6,
}
OLD = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """An installation of the diffusion plugin alone with an empty registry."""
    registry = home / "registry"
    shutil.rmtree(registry, ignore_errors=True)
    registry.mkdir()
    for name, value in {"XDG_CACHE_HOME": home, "XDG_DATA_HOME": tmp_path, "DGM_REGISTRY": registry}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("DGM_PLUGINS", "data,diffusion,publish")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**TINY).eval()


@pytest.fixture(scope="module")
def repository(unet, tmp_path_factory):
    """The public repositories' layout: everything in one folder, attention under its old names."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("ddpm-tiny-8")
    unet.save_pretrained(folder)
    diffusers.DDPMScheduler(variance_type="fixed_large").save_pretrained(folder)
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.1.1",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- pytorch\n---\n\n# A tiny one\n")
    save_file(renamed(unet.state_dict(), OLD), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def renamed(state, table):
    def rename(name):
        for new, old in table.items():
            name = name.replace(new, old)
        return name

    assert {rename(n) for n in state} != set(state) or not table
    return {rename(n): t.contiguous() for n, t in state.items()}


def assert_same_output(model, unet):
    x, t = IndexedNoise(0, 2).normal(3, 8, 8), torch.tensor([10, 900])
    with torch.no_grad():
        assert torch.equal(model.predict(x, t), unet(x, t).sample), "bit for bit"


# --- dgm convert ------------------------------------------------------------------------------------


def as_pipeline(folder, unet):
    unet.save_pretrained(folder / "unet")
    diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=50, clip_sample=False,
                            prediction_type="v_prediction").save_pretrained(folder / "scheduler")  # fmt: skip
    return [folder]


def as_bin(folder, unet):
    folder.mkdir()
    unet.save_config(folder)
    state = {f"module.{k}": v for k, v in unet.state_dict().items()}
    torch.save({"state_dict": state, "optimizer": {"state": {}}, "epoch": 3}, folder / "diffusion_pytorch_model.bin")
    return [folder / "diffusion_pytorch_model.bin"]


def as_halves(folder, unet):
    copy.deepcopy(unet).half().save_pretrained(folder, variant="fp16")
    assert (folder / "diffusion_pytorch_model.fp16.safetensors").exists()
    return [folder]


def as_shards(folder, unet):
    unet.save_pretrained(folder / "unet", max_shard_size="50KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    return [folder]


@pytest.mark.parametrize("layout", [as_pipeline, as_bin, as_shards, as_halves])
def test_convert_gives_diffusers_output_bit_for_bit(place, unet, tmp_path, layout):
    files = layout(tmp_path / "theirs", unet)
    folder = dgmcore.convert(files, "mine", "diffusers-unet", tmp_path, license="mit", dataset="church")
    model = dgmcore.load(folder)
    assert_same_output(model, copy.deepcopy(unet).half().float() if layout is as_halves else unet)
    if layout is as_shards:
        assert sum("-of-" in f["file"] for f in model.entry.training.source["files"]) > 1
    assert model.entry.license == "mit" and model.entry.data.dataset == "church"
    if layout is as_pipeline:
        c = model.config
        assert (c.schedule.name, c.schedule.steps, c.prediction, c.clip) == ("cosine", 50, "v", None)
        betas = diffusers.DDPMScheduler.from_pretrained(tmp_path / "theirs", subfolder="scheduler").betas
        torch.testing.assert_close(model.betas, betas, rtol=1e-4, atol=1e-7)
    assert dgmcore.sample(model, 2, steps=2).isfinite().all()


def test_convert_a_folder_in_the_first_layout(place, repository, unet, tmp_path):
    folder = dgmcore.convert(repository, "mine", out=tmp_path)  # the format is found out
    model = dgmcore.load(folder)
    assert_same_output(model, unet)
    assert model.entry.license == "apache-2.0", "as the repository's card says"
    assert model.config.variance == "large" and model.config.clip == (-1.0, 1.0)
    source = model.entry.training.source
    assert source["format"] == "diffusers-unet" and source["license"] == "apache-2.0"
    assert {f["file"]: f["sha256"] for f in source["files"]} == {
        name: sha256_of(repository / name) for name in (WEIGHTS, "config.json", "scheduler_config.json")
    }


def test_what_convert_does_not_know_is_asked_for_or_listed(place, unet, tmp_path, repository):
    from safetensors.torch import save_file

    alone = tmp_path / "alone" / WEIGHTS
    alone.parent.mkdir()
    shutil.copy(repository / WEIGHTS, alone)

    def refused(words, *files, **options):
        with pytest.raises(DgmError, match=words):
            dgmcore.convert(list(files), "mine", "diffusers-unet", tmp_path, **options)
        assert not (tmp_path / "mine").exists()

    refused("no config.json", alone)
    args = {k: v for k, v in unet.config.items() if not k.startswith("_")}
    refused("does not state the licence", alone, args=args)
    folder = dgmcore.convert(alone, "told", "diffusers-unet", tmp_path, args=args, license="mit")
    assert_same_output(dgmcore.load(folder), unet)
    assert "DDPM's defaults" in read_entry(folder).training.source["notes"][0]
    refused("no option datasett", repository, datasett="x")
    refused("beta_schedule sigmoid", repository, scheduler={"beta_schedule": "sigmoid"})
    refused("variance_type learned", repository, scheduler={"variance_type": "learned"})
    refused("thresholding", repository, scheduler={"thresholding": True})
    state = dict(unet.state_dict())
    del state["conv_in.bias"]
    save_file({**state, "extra.weight": torch.ones(1)}, alone)
    shutil.copy(repository / "config.json", alone.parent)
    refused(r"network.conv_in.bias is missing.*network.extra.weight is unknown", alone.parent, license="mit")


# --- by the name of a repository --------------------------------------------------------------------


def put(hub, folder, **changed):
    """Publishes a folder of somebody else's; `changed` are files with other contents, or none."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files |= {name: content for name, content in changed.items() if content is not None}
    return hub.add(
        "them/ddpm", {name: content for name, content in files.items() if changed.get(name, b"") is not None}
    )


def as_halves_in_shards(folder, unet):
    half = copy.deepcopy(unet).half()
    half.save_pretrained(folder / "unet", variant="fp16", max_shard_size="25KB")
    assert len(list((folder / "unet").glob("*fp16*.safetensors"))) > 1
    diffusers.DDPMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")


@pytest.mark.parametrize("layout", [as_pipeline, as_shards, as_halves, as_halves_in_shards])
def test_a_repository_is_converted_by_its_name(place, hub, unet, tmp_path, layout):
    layout(tmp_path / "theirs", unet)
    commit = put(hub, tmp_path / "theirs", **{"README.md": b"---\nlicense: apache-2.0\n---\n", "other.bin": b"no"})
    folder = dgmcore.convert("hf://them/ddpm", "mine", out=tmp_path)  # the format is found out
    model = dgmcore.load(folder)
    assert_same_output(model, copy.deepcopy(unet).half().float() if "halves" in layout.__name__ else unet)
    assert model.entry.license == "apache-2.0"
    source = model.entry.training.source
    assert source["url"] == "hf://them/ddpm"
    weights = {f["file"]: f["sha256"] for f in source["files"] if f["file"].endswith(".safetensors")}
    assert len(weights) == (1 if layout in (as_pipeline, as_halves) else len(weights) > 1 and len(weights))
    stored = {path.rpartition("/")[2]: content for path, content in hub.repos["them/ddpm"].commits[commit].items()}
    assert all(stored[name].sha256 == sha256 for name, sha256 in weights.items())
    assert not any("other.bin" in path for _, path in hub.requests)
    if layout is as_halves_in_shards:
        assert model.config.clip is None, "as its scheduler says"


def test_a_variant_is_chosen_where_there_are_several(place, hub, unet, tmp_path):
    as_halves(tmp_path / "theirs", unet)
    unet.save_pretrained(tmp_path / "theirs")
    put(hub, tmp_path / "theirs")
    how = {"format": "diffusers-unet", "out": tmp_path, "license": "mit"}
    assert_same_output(dgmcore.load(dgmcore.convert("hf://them/ddpm", "whole", **how)), unet)
    half = dgmcore.convert("hf://them/ddpm@main", "half", variant="fp16", **how)
    assert_same_output(dgmcore.load(half), copy.deepcopy(unet).half().float())
    with pytest.raises(DgmError, match="variant=int8"):
        dgmcore.convert("hf://them/ddpm", "other", variant="int8", **how)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["../../secret.safetensors"], "no file beside it"),
        (["/etc/passwd"], "no file beside it"),
        ([".."], "other files than safetensors"),
        (["config.json"], "no file beside it"),
        (["code.bin"], "other files than safetensors"),
        (["missing.safetensors"], "no file unet/missing.safetensors"),
        ([f"{i}.safetensors" for i in range(1001)], "or too many"),
        (None, "no index of weights"),
    ],
)
def test_an_index_of_a_stranger_leads_nowhere_else(place, hub, unet, tmp_path, names, words):
    as_shards(tmp_path / "theirs", unet)
    index = tmp_path / "theirs" / "unet" / f"{WEIGHTS}.index.json"
    weight_map = names and {f"tensor{i}": name for i, name in enumerate(names)}
    put(hub, tmp_path / "theirs", **{f"unet/{index.name}": json.dumps({"weight_map": weight_map}).encode()})
    hub.requests.clear()
    with pytest.raises(DgmError, match=words) as refused:
        dgmcore.convert("hf://them/ddpm", "mine", out=tmp_path, license="mit")
    assert refused.value.hint and not (tmp_path / "mine").exists()
    got = {path.rpartition("/")[2] for method, path in hub.requests if method == "GET"}
    assert not any(name.endswith(".safetensors") for name in got), "nothing was fetched"


def test_tensors_of_a_stranger_are_in_one_file_each(place, hub, unet, tmp_path):
    """An index that names a tensor twice, and shards that repeat one."""
    as_shards(tmp_path / "theirs", unet)
    index = tmp_path / "theirs" / "unet" / f"{WEIGHTS}.index.json"
    text = index.read_text()
    weight_map = json.loads(text)["weight_map"]
    first, last = min(weight_map.values()), max(weight_map.values())
    name = next(n for n, file in weight_map.items() if file == first)
    twice = text.replace('"weight_map": {', f'"weight_map": {{ "{name}": "{last}",', 1)
    put(hub, tmp_path / "theirs", **{f"unet/{index.name}": twice.encode()})
    assert_same_output(dgmcore.load(dgmcore.convert("hf://them/ddpm", "once", out=tmp_path, license="mit")), unet)
    moved = json.dumps({"weight_map": {**weight_map, name: last}}).encode()
    put(hub, tmp_path / "theirs", **{f"unet/{index.name}": moved})
    with pytest.raises(DgmError, match="does not hold what"):
        dgmcore.convert("hf://them/ddpm", "mine", "diffusers-unet", tmp_path, license="mit")


def test_repositories_without_what_can_be_read(place, hub, unet, tmp_path):
    as_bin(tmp_path / "theirs", unet)
    put(hub, tmp_path / "theirs")
    with pytest.raises(DgmError, match="no weights as safetensors"):
        dgmcore.convert("hf://them/ddpm", "mine", out=tmp_path, license="mit")
    assert not any(method == "GET" and path.endswith(".bin") for method, path in hub.requests)
    hub.add("them/text", {"README.md": b"# Nothing"})
    with pytest.raises(DgmError, match=r"no config\.json"):
        dgmcore.convert("hf://them/text", "mine", out=tmp_path)
    with pytest.raises(DgmError, match="no repository them/none"):
        dgmcore.convert("hf://them/none", "mine", out=tmp_path)
    with pytest.raises(DgmError, match="no converter fetches"):
        dgmcore.convert("hf://them/text", "mine", "nothing", out=tmp_path)


# --- the entries that point at the public Hub -------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
def test_the_shipped_entries(name):
    """Their configs have the published numbers of weights; where they point can't be tried here."""
    from dgm_diffusion.ddpm import DDPM

    entry = read_entry(REGISTRY / name)
    repo, weights = PUBLIC[name]
    assert (entry.weights.hub.repo, entry.weights.hub.file) == (repo, WEIGHTS)
    assert (entry.weights.layout, entry.weights.hub.trust) == ("diffusers", "first-fetch")
    with torch.device("meta"):
        model = DDPM(entry.config)
    assert model.num_parameters() == entry.weights.parameters == weights
    names = set(model.network.state_dict())
    new, old = model.tensor_names("diffusers", names), model.tensor_names("diffusers", renamed_names(names))
    assert set(new.values()) == names and set(old.values()) == renamed_names(names)


def renamed_names(names):
    return set(renamed({n: torch.empty(0) for n in names}, OLD))


@pytest.fixture
def published(place, hub, home, repository):
    """A repository of the public layout on the Hub, and a shipped entry that points at it, with the tiny config."""
    hub.add("google/ddpm-cifar10-32", {p.name: p.read_bytes() for p in repository.iterdir()})
    entry = read_entry(REGISTRY / "ddpm-cifar10")
    args = json.loads((repository / "config.json").read_text())
    network = {"kind": "unet", "args": {k: v for k, v in args.items() if not k.startswith("_")}}
    config = {**entry.config, "event_shape": [3, 8, 8], "network": network}
    data = msgspec.structs.replace(entry.data, event_shape=(3, 8, 8))
    weights = msgspec.structs.replace(entry.weights, parameters=None)
    entry = msgspec.structs.replace(entry, name="ddpm-tiny", config=config, data=data, weights=weights)
    write_entry(entry, home / "registry" / "ddpm-tiny")
    return hub


def test_pull_and_sample_a_repository_of_the_public_layout(published, unet, capsys):
    (done,) = dgmcore.pull("ddpm-tiny")
    assert done.path.name == WEIGHTS and done.license == "Apache-2.0"
    assert "recorded the sha256" in capsys.readouterr().err
    published.requests.clear()
    assert_same_output(dgmcore.load("ddpm-tiny"), unet)
    assert dgmcore.sample("ddpm-tiny", 2, steps=2).shape == (2, 3, 8, 8)
    assert published.requests == [], "nothing is asked again"
    listed = {m["name"]: m["available"] for m in dgmcore.list_models()}
    assert listed["ddpm-tiny"] is True


def test_it_can_be_published_again_as_it_is(published, unet):
    dgmcore.pull("ddpm-tiny")
    dgmcore.push("ddpm-tiny", "user/ddpm-tiny")
    model = dgmcore.load("hf://user/ddpm-tiny")
    assert_same_output(model, unet)
    weights = model.entry.weights
    assert weights.sha256 and weights.hub is None and weights.layout == "diffusers"


def test_a_layout_that_the_architecture_does_not_read(published, home):
    entry = find("ddpm-tiny").entry
    weights = msgspec.structs.replace(entry.weights, layout="timm")
    write_entry(msgspec.structs.replace(entry, weights=weights), home / "registry" / "ddpm-tiny")
    with pytest.raises(DgmError, match="DDPM reads no weights in the layout timm"):
        dgmcore.load("ddpm-tiny")
