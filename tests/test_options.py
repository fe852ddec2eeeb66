"""The typed options of every architecture."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from dgmcore import plugins
from dgmcore.plugins.imports import import_string

ROOT = Path(__file__).parent.parent

#: Options that no test needs to name, and why.
UNNAMED: dict[str, str] = {}


@cache
def words(folder: Path) -> str:
    """What the tests in a folder say, without those of this file."""
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.py")) if p != Path(__file__))


@pytest.mark.parametrize("name", sorted(plugins.architectures()))
def test_every_option_of_sampling_scoring_and_training_is_given_by_a_test(name):
    """In the tests of its family or of the core, as `name=value` or as a key; what it does is theirs to say."""
    kind, plugin = plugins.architecture(name), plugins.architectures()[name].plugin
    phases = [import_string(string).Options for string in kind.phases.values()]
    said = words(ROOT / "tests") + words(ROOT / "plugins" / f"dgm-{plugin}" / "tests")
    options = {f.name for struct in (kind.Sampling, kind.Scoring, *phases) for f in msgspec.structs.fields(struct)}
    given = {o for o in options if re.search(rf"\b{o}\s*=[^=]|[\"']{o}[\"']\s*:|\b{o}:", said)}
    assert options - given - UNNAMED.keys() == set()


@pytest.mark.parametrize("name", sorted(plugins.architectures()))
def test_options_are_not_mixed_up_with_the_config(name):
    # in a class body, `class Sampling(Config)` after `class Config(Config)` would inherit the model's own config
    kind = plugins.architecture(name)
    config = set(kind.Config.__struct_fields__)
    for options in (kind.Sampling, kind.Scoring):
        assert not config or not issubclass(options, kind.Config), options.__qualname__
