"""The examples of docs/registry.md and docs/plugins.md run."""

from __future__ import annotations

import re
from pathlib import Path

import dgmcore
from dgmcore import plugins, registry
from dgmcore.cli.commands.plugins import trust

DOCS = Path(__file__).parent.parent / "docs"


def _blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_entry_is_valid(installation):
    (text,) = _blocks("registry.md", "yaml")
    folder = installation.registry / "vaebm-celeba"
    folder.mkdir()
    (folder / "model.yaml").write_text(text)
    entry = registry.find("vaebm-celeba").entry
    assert registry.read_entry(registry.write_entry(entry, installation.work / "copy")) == entry


def test_the_python_runs(installation, capsys):
    installation.plugin("toys")
    installation.entry("toy")
    (code,) = _blocks("registry.md", "python")
    exec(code, {})
    assert "toy [2]" in capsys.readouterr().out


def test_the_one_file_plugin_works(installation):
    folder = installation.data / "plugins"
    folder.mkdir(parents=True)
    (code,) = _blocks("plugins.md", "python")
    (folder / "shifts.py").write_text(code)
    trust("shifts")
    assert plugins.architectures()["shift"].capabilities == ["generator", "pushforward"]
    model = plugins.architecture("shift")({"dim": 3})
    assert model.sample(dgmcore.IndexedNoise(seed=0, n=4)).shape == (4, 3)
