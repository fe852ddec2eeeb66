"""Writes what the docs say of commands and models from the commands and the registry themselves.

`make docs` rewrites `docs/cli.md` and `docs/options.md`, and the tables between markers in `README.md` and
`docs/models.md`; a test checks that they are current.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OWN = ("train", "eval", "publish", "latent", "replay", "export", "serve")  # our plugins that bring commands


def cli() -> str:
    """Returns `docs/cli.md`."""

    from dgmcore import plugins
    from dgmcore.cli.app import HELP, command_of
    from dgmcore.plugins.core_commands import COMMANDS

    helps = {name: text for name, (_, text) in COMMANDS.items()}
    helps |= {name: r.help for name, r in sorted(plugins.commands().items()) if r.plugin in OWN}

    lines = ["# The command line", "", HELP, "", "This page is generated from the commands by `make docs`.", ""]
    lines += [
        "- Data go to stdout, talk and progress to stderr; `--json` prints JSON and nothing else.",
        "- An error is two lines, `error: what` and `hint: what to do`; `--debug` shows the traceback.",
        "- Exit codes: 0 done, 1 failed, 2 wrong usage.",
        "- `--set key=value` may be repeated; keys and types are checked, a wrong key is answered with the nearest.",
        "",
        "| command | |",
        "| --- | --- |",
        *(f"| [`dgm {name}`](#dgm-{name}) | {text} |" for name, text in helps.items()),
        "",
    ]
    for name in helps:
        lines += _command(name, command_of(name))
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["dgm", name, *(_shape(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    help_text = re.sub(r"\s*\n(?!\n)\s*", " ", (command.help or "").strip())
    lines = [f"## dgm {name}", "", help_text, "", f"    {usage}", ""]
    rows = [(f"`{_shape(a)}`", getattr(a, "help", "") or "") for a in arguments]
    rows += [(", ".join(f"`{o}`" for o in [*p.opts, *p.secondary_opts]), _help(p)) for p in options]
    if rows:
        lines += ["| | |", "| --- | --- |", *(f"| {left} | {_cell(right)} |" for left, right in rows), ""]
    return lines


def _shape(argument: Any) -> str:
    metavar = (argument.metavar or argument.name).upper().strip("[]").replace("...", "")
    metavar += "..." if argument.nargs == -1 else ""
    return metavar if argument.required else f"[{metavar}]"


def _help(option: Any) -> str:
    default = option.default
    shown = default is not None and default is not False and default != () and not callable(default) and default != ""
    return (option.help or "") + (f" Default: `{default}`." if shown else "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def models() -> str:
    """Returns the table of all models, for `docs/models.md`."""

    import dgmcore

    rows = ["| model | what it is | data | weights | measured |", "| --- | --- | --- | --- | --- |"]
    for m in sorted(dgmcore.list_models(), key=lambda m: (m["family"] or "", m["name"])):
        entry = dgmcore.info(m["name"])
        metrics = entry.get("metrics") or entry.get("entry", {}).get("metrics", [])
        summary = entry.get("summary") or ""
        count = f"{m['parameters']:,}" if m["parameters"] else ""
        rows.append(f"| `{m['name']}` | {_cell(summary)} | {m['dataset']} | {count} | {_measured(metrics)} |")
    return "\n".join(rows)


def families() -> str:
    """Returns the README's table: what there is of each family."""

    import dgmcore
    from dgmcore import plugins

    kinds, entries = plugins.architectures(), dgmcore.list_models()
    rows = ["| family | architectures | models |", "| --- | --- | --- |"]
    for family in ("flows", "vaes", "ebms", "gans", "diffusion", "autoregressive", "hybrids"):
        names = ", ".join(f"`{name}`" for name, kind in sorted(kinds.items()) if kind.family == family)
        models = sum(m["family"] == family for m in entries)
        rows.append(f"| [{family}](docs/families/{family}.md) | {names} | {models} |")
    return "\n".join(rows)


def options() -> str:
    """Returns `docs/options.md`: what every architecture can be told."""

    from dgmcore import plugins

    by_family: dict[str, list[str]] = {}
    for name, kind in sorted(plugins.architectures().items()):
        by_family.setdefault(kind.family, []).append(name)
    lines = ["# All options", "", *_OPTIONS_SAY]
    for family, names in sorted(by_family.items()):
        lines += [f"## {family}", ""]
        for name in names:
            lines += [options_of(name), ""]
    return "\n".join(lines).rstrip() + "\n"


_OPTIONS_SAY = [
    "What a recipe may say in `config` and in a phase's `options`, and what `--set` takes in sampling and in scoring.",
    "What is not said has its default, in what is published too: who changes a default changes what entries mean.",
    "`dgm info ARCHITECTURE` shows the same of one architecture. This page is generated from the code by `make docs`.",
    "",
]


def options_of(architecture: str) -> str:
    """Returns the table of all options of an architecture, with its heading."""

    from dgm_train.describe import describe

    known = describe(architecture)
    groups = [("config", known["config"]), ("sampling", known["sampling"]), ("scoring", known["scoring"])]
    groups += [(f"phase `{name}`", phase["options"]) for name, phase in known["phases"].items()]
    rows = [
        f"| `{key}` | {group} | {_default_of(field['default'])} | {_cell(field['type'])} | {_cell(field['help'])} |"
        for group, fields in groups
        for key, field in fields.items()
    ]
    table = ["", "| option | of | default | values | |", "| --- | --- | --- | --- | --- |", *rows] if rows else []
    return "\n".join([f"### {architecture}", "", f"{known['summary']}", *table])


def _default_of(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`".replace("|", "\\|")


_SHOWN = ("fid", "nll", "bits-per-dim", "accuracy", "energy-distance", "modes", "within-3-sigma")


def _measured(metrics: list[dict[str, Any]]) -> str:
    """Returns the first two kinds of a model's figures that the table has room for, the first record of each."""

    chosen = {m["name"]: m["value"] for m in reversed(metrics)}
    return "; ".join(f"{name} {chosen[name]:.4g}" for name in [n for n in _SHOWN if n in chosen][:2])


def between(text: str, marker: str, new: str) -> str:
    """Replaces what stands between `<!-- marker -->` and `<!-- /marker -->`."""

    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(\n<!-- /{marker} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"a page lacks the marker {marker}")
    return pattern.sub(lambda found: found[1] + new + found[2], text)


def pages() -> dict[Path, str]:
    """Returns every generated page."""

    readme, page = ROOT / "README.md", ROOT / "docs" / "models.md"
    return {
        ROOT / "docs" / "cli.md": cli(),
        ROOT / "docs" / "options.md": options(),
        readme: between(readme.read_text(encoding="utf-8"), "families", families()),
        page: between(page.read_text(encoding="utf-8"), "models", models()),
    }


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
