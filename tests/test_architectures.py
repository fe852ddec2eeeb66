"""`dgm list --architectures` and `dgm info ARCHITECTURE`: what can be trained, and what it can be told, in words."""

from __future__ import annotations

import pytest
from installation import invoke, invoke_json

from dgmcore.plugins import architectures


def test_they_are_listed_by_the_filters_of_models(capsys):
    names = [a["name"] for a in invoke_json(capsys, "list", "--architectures", "--family", "vaes")]
    assert names == sorted(names) and {"conv-vae", "mlp-vae"} <= set(names) and "ddpm" not in names
    code, out, _ = invoke(capsys, "list", "--architectures", "--can", "encoder")
    assert code == 0 and "conv-vae" in out and "ddpm " not in out


def test_one_is_told_in_plain_types_with_what_they_mean(capsys):
    code, out, _ = invoke(capsys, "info", "conv-vae")
    said = " ".join(out.split())
    assert code == 0
    assert "decoder bernoulli (bernoulli or gaussian)" in said
    assert "widths [64, 128] (list: whole number >= 1) channels after each halving of the size" in said
    assert "phase elbo: Maximises" in said and "warmup 0 (number from 0 to 1)" in said
    assert "Meta" not in said and "Annotated" not in said


@pytest.mark.parametrize("name", sorted(architectures()))
def test_every_one_can_be_described(capsys, name):
    kind = invoke_json(capsys, "info", name)
    fields = [kind["config"], kind["sampling"], kind["scoring"], *(p["options"] for p in kind["phases"].values())]
    assert all("Annotated" not in field["type"] for section in fields for field in section.values())
    assert all(phase["summary"] for phase in kind["phases"].values())
