"""Signatures: what `dgm push --sign` publishes and `dgm pull --verify-key` believes, through the real client."""

from __future__ import annotations

import hashlib
import sys

import pytest
from test_hub_push import make

import dgmcore
from dgmcore.cli import main
from dgmcore.errors import PluginError, UsageError, WeightsError
from dgmcore.loading.load import build
from dgmcore.registry.find import find

pytest.importorskip("model_signing")
pytest.importorskip("OpenSSL")

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from dgm_publish.publish import push
from dgm_publish.signature import pull_signed

DATA = {"dataset": "moons", "event_shape": [2]}


def key(folder, name):
    made = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(made.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private


@pytest.fixture
def signed(toys, hub, monkeypatch):
    """A composed model on the Hub, signed by `ours.pem`; the reader has neither registry nor cache."""
    monkeypatch.setattr("dgmcore.hub.first_fetch.user_data", lambda: toys / "share")
    key(toys, "theirs")
    make(toys, "left", 1.0)
    make(toys, "right", 2.0)
    pair = build("toy-pair", {}, {"first": "left", "second": "right"})
    pair.save(toys / "registry" / "pair", name="pair", license="mit", data=DATA)
    push("pair", "user/pair", sign=key(toys, "ours"))
    return hub


def test_what_was_signed_is_pulled_and_stays_what_it_was(signed, toys, capsys):
    first = signed.repos["user/pair"].refs["main"]
    assert main(["pull", "hf://user/pair", "--verify-key", str(toys / "ours.pub")]) == 0
    assert "left" in capsys.readouterr().out
    signed.add("user/pair", {"model.yaml": signed.files("user/pair")["model.yaml"] + b"# changed\n"})
    assert find("hf://user/pair").folder.name == first, "what was verified, though main has moved on"
    assert find("hf://user/pair@main").folder.name != first
    with pytest.raises(WeightsError, match=r"other than was signed: model\.yaml"):
        pull_signed("hf://user/pair", toys / "ours.pub")
    assert find("hf://user/pair").folder.name == first
    push("pair", "user/pair", sign=toys / "ours.pem")
    pull_signed("hf://user/pair", toys / "ours.pub")
    assert find("hf://user/pair").folder.name == signed.repos["user/pair"].refs["main"] != first


def test_signing_the_same_again_changes_nothing(signed, toys):
    assert not push("pair", "user/pair", sign=toys / "ours.pem").changed
    assert push("pair", "user/pair", sign=toys / "theirs.pem").changed


def test_other_keys(signed, toys):
    with pytest.raises(WeightsError, match="another key"):
        pull_signed("hf://user/pair", toys / "theirs.pub")
    pull_signed("hf://user/pair", toys / "ours.pub")
    push("pair", "user/pair", sign=toys / "theirs.pem")
    with pytest.raises(WeightsError, match="signed by another key before") as refused:
        pull_signed("hf://user/pair", toys / "theirs.pub")
    (pin,) = (toys / "share").rglob("*model.sig.json")
    assert str(pin) in refused.value.hint
    pin.unlink()
    pull_signed("hf://user/pair", toys / "theirs.pub")


@pytest.mark.parametrize("file", ["parts/left/model.safetensors", "parts/right/model.yaml", "model.yaml"])
def test_what_was_not_signed_is_refused(signed, toys, file):
    """Whoever can write to the repository changes a file, and the sha256 that the entry has of it."""
    files = signed.files("user/pair")
    changed = {file: files[file] + b"# more\n"}
    if file.endswith(".safetensors"):
        old = files[file]
        new = old[:-1] + bytes([old[-1] ^ 1])
        entry = files["parts/left/model.yaml"].replace(*(hashlib.sha256(x).hexdigest().encode() for x in (old, new)))
        changed = {file: new, "parts/left/model.yaml": entry}
    signed.add("user/pair", changed)
    with pytest.raises(WeightsError, match=f"other than was signed: .*{file}"):
        pull_signed("hf://user/pair", toys / "ours.pub")
    assert dgmcore.sample("hf://user/pair", 2).shape == (2, 2), "nobody asked for a signature"


def test_a_part_that_is_added_was_not_signed(signed, toys):
    files = signed.files("user/pair")
    extra = {f"parts/more/{name}": files[f"parts/left/{name}"] for name in ("model.yaml", "model.safetensors")}
    extra["parts/more/model.yaml"] = extra["parts/more/model.yaml"].replace(b"name: left", b"name: more")
    signed.add("user/pair", {**extra, "model.yaml": files["model.yaml"].replace(b"first: left", b"first: more")})
    with pytest.raises(WeightsError, match="other than was signed"):
        pull_signed("hf://user/pair", toys / "ours.pub")


@pytest.mark.parametrize("text", [b"", b"{}", b"nonsense", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_signature(signed, toys, text):
    signed.add("user/pair", {"model.sig": text})
    with pytest.raises(WeightsError, match=r"model\.sig is damaged, or no signature"):
        pull_signed("hf://user/pair", toys / "ours.pub")


def test_no_signature_no_repository_no_key(signed, toys, monkeypatch):
    push("left", "user/left")
    with pytest.raises(WeightsError, match=r"no signature model\.sig"):
        pull_signed("hf://user/left", toys / "ours.pub")
    (toys / "no.pem").write_text("nonsense")
    for path in (toys / "ours.pub", toys / "no.pem", toys / "missing"):
        with pytest.raises(UsageError) as refused:
            push("left", "user/left", sign=path)
        assert str(path) in refused.value.what and "openssl" in refused.value.hint
    for name, path in (("hf://user/pair", "ours.pem"), ("hf://user/pair", "no.pem"), ("pair", "ours.pub")):
        with pytest.raises(UsageError):
            pull_signed(name, toys / path)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(PluginError, match="model-signing") as missing:
        pull_signed("hf://user/pair", toys / "ours.pub")
    assert "dgm-publish[sign]" in missing.value.hint


def test_the_command_says_what_goes_together(signed, toys, capsys):
    public = str(toys / "ours.pub")
    assert main(["pull", "--all", "--verify-key", public]) == 2
    assert main(["push", "left", "--repo", "user/left", "--sign", str(toys / "ours.pem")]) == 0
    assert "published" in capsys.readouterr().err
    assert main(["pull", "hf://user/left", "--verify-key", str(toys / "theirs.pub")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_everybody_can_check_it(signed, toys):
    """With the library itself, on the files as they are in the repository."""
    from model_signing import verifying

    folder = toys / "clone"
    for name, content in signed.files("user/pair").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    check = verifying.Config().use_elliptic_key_verifier(public_key=toys / "ours.pub").set_ignore_unsigned_files(True)
    check.verify(folder, folder / "model.sig")
    (folder / "parts/left/model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="mismatch"):
        check.verify(folder, folder / "model.sig")
