"""Models into what people use: ONNX (`dgm export`), distributions, estimators of scikit-learn, tables, figures."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [{"name": "export", "import": "dgm_export.command:app", "help": "Write a sampler or a score as ONNX."}]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    summary = "A model as a distribution of torch"
    return [
        {"name": "as_distribution", "import": "dgm_export.distribution:as_distribution", "summary": summary},
        {"name": "preview", "import": "dgm_export.terminal:show", "summary": "Samples in the terminal"},
        {"name": "write_figure", "import": "dgm_export.figure:write_figure", "summary": "Points as .pdf or .svg"},
    ]
