"""The typed options of every architecture."""

from __future__ import annotations

import pytest

from dgmcore import plugins


@pytest.mark.parametrize("name", sorted(plugins.architectures()))
def test_options_are_not_mixed_up_with_the_config(name):
    # in a class body, `class Sampling(Config)` after `class Config(Config)` would inherit the model's own config
    kind = plugins.architecture(name)
    config = set(kind.Config.__struct_fields__)
    for options in (kind.Sampling, kind.Scoring):
        assert not config or not issubclass(options, kind.Config), options.__qualname__
