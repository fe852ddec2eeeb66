"""Puts the registry of the repository and its recipes into the wheel; an editable installation has them already.

Weights that an entry says are on a Hub (`weights.hub`, written by `dgm push --all --record`) stay out, and so does the
picture of samples beside them: `dgm pull` fetches the one, and `dgm sample` draws the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Registry(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        registry = Path(self.root).parents[1] / "registry"
        for entry in sorted(registry.glob("*/model.yaml")):
            weights = yaml.safe_load(entry.read_text(encoding="utf-8")).get("weights") or {}
            for file in [entry] if weights.get("hub") else sorted(f for f in entry.parent.rglob("*") if f.is_file()):
                inside = file.relative_to(registry).as_posix()
                build_data["force_include"][str(file)] = f"dgm_weights/registry/{inside}"
        for recipe in sorted((registry.parent / "recipes").glob("*.yaml")):  # what `dgm finetune` goes by
            build_data["force_include"][str(recipe)] = f"dgm_weights/recipes/{recipe.name}"
