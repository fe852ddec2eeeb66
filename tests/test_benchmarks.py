"""The runner of the benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def runner(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmarks_run", ROOT / "benchmarks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row = '{"name": "%s", "ours": %s, "theirs": 10.0, "unit": "ms", "ratio": %s / 10.0, "note": "the other"}'
    (tmp_path / "fast.py").write_text(f"\ndef run():\n    return [{row % ('a', 5.0, 5.0)}]\n")
    (tmp_path / "slow.py").write_text(f"\ndef run():\n    return [{row % ('b', 30.0, 30.0)}]\n")
    (tmp_path / "broken.py").write_text("\ndef run():\n    raise OSError('no such thing')\n")
    (tmp_path / "helper.py").write_text("raise SystemExit('never imported')\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return module


def test_all_are_shown_and_written_and_a_failure_stops_none(runner, tmp_path, monkeypatch, capsys):
    out = tmp_path / "results.md"
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(out), "--threads", "1"])
    assert runner.main() == 1  # slow, and broken
    text = out.read_text()
    assert "| fast | a | 5 ms | 10 ms | 2.00 | ok | the other |" in text
    assert "| slow | b | 30 ms | 10 ms | 0.33 | SLOWER | the other |" in text
    assert "OSError: no such thing" in text
    assert "2.00" in capsys.readouterr().out


def test_some_can_be_chosen(runner, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "fast", "--threads", "1"])
    assert runner.main() == 0
    assert not (tmp_path / "results.md").exists()
    monkeypatch.setattr(sys, "argv", ["run.py", "fats"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "broken, fast, slow" in capsys.readouterr().err
