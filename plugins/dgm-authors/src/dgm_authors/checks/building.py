"""Checks on what a model is made of, before it draws or measures anything."""

from __future__ import annotations

import socket
import subprocess
from functools import cache
from importlib import import_module
from typing import Any
from unittest import mock

import msgspec

from dgmcore.errors import DgmError
from dgmcore.interfaces import capabilities
from dgmcore.plugins.isolate import python
from dgmcore.plugins.provided import architectures, plugins

from ..subject import Subject, build_example, rebuild
from .base import Skip, registry

CHECKS, check = registry()


@check()
def builds_without_network(it: Subject) -> None:
    """The example config builds while every connection is refused."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("building the model opened a network connection")

    with mock.patch.object(socket.socket, "connect", refuse):
        rebuild(it.model)
        build_example(type(it.model))


@check()
def listing_imports_no_torch(it: Subject) -> None:
    """Importing the plugin's module and calling its hooks does not import torch."""

    problem = _what_hooks_import(_plugin_module(it))
    assert problem is None, problem


@check()
def hook_data_agree(it: Subject) -> None:
    """The plugin's record of the architecture names its class, a family and a summary."""

    if it.architecture is None:
        raise Skip("the model has no registered architecture")
    record = architectures()[it.architecture]
    module, _, name = record.import_.partition(":")
    cls = getattr(import_module(module), name)
    assert isinstance(it.model, cls), f"{record.import_} is not the class of the model, {type(it.model).__name__}"
    for key in ("family", "summary"):
        assert getattr(record, key), f"the hook's record of {it.architecture} lacks {key}"
    assert record.capabilities == capabilities(cls), "the index has other capabilities than the class"


@check()
def config_round_trip(it: Subject) -> None:
    """Plain data of the config, defaults included, builds an equal config."""

    data = it.model.config_dict()
    again = msgspec.json.decode(msgspec.json.encode(data))
    twin = rebuild(it.model, **again)
    assert twin.config == it.model.config, f"{twin.config} is not {it.model.config}"


@check()
def unknown_key_rejected(it: Subject) -> None:
    """An unknown key in the config and in the sampling options is an error that names it."""

    for what, attempt in (
        ("config", lambda: rebuild(it.model, no_such_key=1)),
        ("sampling options", lambda: it.model.sampling({"no_such_key": 1})),
        ("scoring options", lambda: it.model.scoring({"no_such_key": 1})),
    ):
        try:
            attempt()
        except DgmError as e:
            assert "no_such_key" in str(e), f"the error does not name the key: {e}"
        else:
            raise AssertionError(f"an unknown key in the {what} was accepted")


@check()
def has_a_capability(it: Subject) -> None:
    """The model answers at least one of the core's questions, and states the shape of its data."""

    assert it.model.capabilities, "no protocol of dgmcore.interfaces is implemented"
    if {"generator", "critic", "density"} & set(it.model.capabilities):
        shape = getattr(it.model, "event_shape", None)
        assert shape and all(isinstance(s, int) and s > 0 for s in shape), f"event_shape is {shape}"


@cache
def _what_hooks_import(module: str) -> str | None:
    """Returns what is wrong with the imports of a plugin's module, tried in a process of its own."""

    code = (
        f"import sys, importlib; p = importlib.import_module({module!r})\n"
        "[getattr(p, h)() for h in dir(p) if h.startswith('dgm_') and callable(getattr(p, h))]\n"
        "sys.exit('torch' in sys.modules)"
    )
    command, environment = python(code)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"{module} imports torch at its top: import it where models are"])[-1]


def _plugin_module(it: Subject) -> str:
    """Returns the module that holds the hooks of the architecture's plugin."""

    if it.architecture is None:
        raise Skip("the model has no registered architecture")
    name = architectures()[it.architecture].plugin
    source = next(p.source for p in plugins() if p.name == name)
    if source.kind == "file":
        raise Skip("the plugin is a single file, which holds its models too")
    return source.value.partition(":")[0]
