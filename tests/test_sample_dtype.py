"""`dgm sample --dtype`: each architecture with shipped weights is right in half precision, or refuses it."""

from __future__ import annotations

import pytest
import torch
from installation import invoke

import dgmcore
from dgmcore.calls.listing import list_models
from dgmcore.errors import UsageError
from dgmcore.registry.find import find

#: One shipped entry of each architecture that draws, the last by name.
ENTRIES = {find(m["name"]).entry.architecture: m["name"] for m in list_models(can="generator")}
#: Those whose solvers are long: some steps show what many would.
FEW = {"ddpm": {"steps": 20}}


@pytest.mark.parametrize("architecture", sorted(ENTRIES))
def test_samples_in_bfloat16_are_those_in_float32_or_refused(architecture):
    name = ENTRIES[architecture]
    try:
        model = dgmcore.load(name)
    except dgmcore.DgmError as e:
        pytest.skip(f"{name} is not here: {e}")
    options = FEW.get(architecture, {})
    try:
        low = dgmcore.load(name, dtype="bfloat16")
    except UsageError as e:
        assert "is not right in bfloat16" in e.what and "float32" in e.hint
        return
    found = dgmcore.sample(low, 4, options=options)
    assert found.dtype in (torch.bfloat16, torch.float32)  # a last step may be of float32
    gap = (found.float() - dgmcore.sample(model, 4, options=options)).square().mean().sqrt()
    assert gap < 0.02


def test_the_command_says_so_and_its_files_replay(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(capsys, "sample", "vae-fashion", "-n", "2", "--dtype", "bfloat16", "--out", "low.npz")
    assert (code, out) == (0, "low.npz\n"), err
    code, out, err = invoke(capsys, "replay", "low.npz")
    assert code == 0 and "equal, bit by bit" in out + err
    for args, words in (
        (["realnvp-moons", "--dtype", "bfloat16"], "RealNVP is not right in bfloat16"),
        (["vae-fashion", "--tilt", "energy-fashion", "--dtype", "bfloat16"], "Tilted is not right in bfloat16"),
        (["vae-fashion", "--dtype", "bf16"], "bf16 is no floating-point type"),
    ):
        code, out, err = invoke(capsys, "sample", *args)
        assert code in (1, 2) and words in err and len(err.splitlines()) == 2, err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["low.npz"]
