"""`dgm check-plugin`: the conformance suite on the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import to_builtins

from dgmcore.cli import complete
from dgmcore.console import emit_json, printable, progress, wrapped
from dgmcore.plugins.provided import plugins

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: Annotated[
        str, typer.Argument(help="A plugin, one of its architectures, or an entry.", autocompletion=complete.subjects)
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check that a plugin's models keep the core's contracts."""

    from .runner import check_model, names_of, summarize

    results = []
    subjects = names_of(name)
    with progress("checking", total=len(subjects), unit="models") as advance:
        for subject in subjects:
            results += check_model(subject)
            advance()
    errors = [p for p in plugins() if p.name == name and p.status != "ok"]
    if json:
        records = [{f: getattr(r, f) for f in r.__dataclass_fields__} | {"ok": r.ok} for r in results]
        wrong = [{**to_builtins(p.source), "status": p.status, "errors": to_builtins(p.errors)} for p in errors]
        emit_json({"name": name, "errors": wrong, "results": records, "summary": summarize(results)})
    else:
        _print(results)
    if errors or not all(r.ok for r in results):
        raise typer.Exit(1)


def _print(results: list[Any]) -> None:
    from .runner import summarize

    mark = {"passed": "ok", "failed": "FAILED", "skipped": "-", "expected": "expected", "unexpected": "UNEXPECTED"}
    for model in dict.fromkeys(r.model for r in results):
        own = [r for r in results if r.model == model]
        counts = summarize(own)
        print(wrapped(printable(f"{model}: {', '.join(f'{v} {k}' for k, v in counts.items() if v)}"), "  "))
        for r in own:
            if r.status != "passed":
                print(wrapped(printable(f"  {mark[r.status]:<10} {r.check}: {r.message}"), " " * 4))
