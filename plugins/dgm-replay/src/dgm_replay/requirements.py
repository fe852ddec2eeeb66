"""`dgm plugins --requirements`: what to install to have the same plugins elsewhere."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import msgspec

from dgmcore.plugins import current

__all__ = ["requirements"]


def requirements() -> list[str]:
    """Returns pip requirements of the core and of the installed plugins, and comments for what pip can't install."""
    lines: dict[str, None] = {}
    for source in (plugin.source for plugin in current.index().plugins):
        if source.distribution is None:
            lines[f"# copy the file {source.location} to the plugin folder"] = None
            continue
        try:
            text = distribution(source.distribution).read_text("direct_url.json")
        except (PackageNotFoundError, OSError, ValueError):
            text = None
        lines[_direct(source.distribution, text) or f"{source.distribution}=={source.version}"] = None
    return list(lines)


class _Origin(msgspec.Struct):
    """What pip records of a distribution that it installed from a repository or an archive (PEP 610)."""

    url: str = ""
    vcs_info: dict[str, str] = {}


def _direct(name: str, text: str | None) -> str | None:
    """Returns the requirement of a distribution that was installed from a repository or an archive."""
    try:
        origin = msgspec.json.decode(text or "{}", type=_Origin)
    except ValueError:
        return None
    if {"vcs", "commit_id"} <= origin.vcs_info.keys():
        return f"{name} @ {origin.vcs_info['vcs']}+{origin.url}@{origin.vcs_info['commit_id']}"
    return f"{name} @ {origin.url}" if origin.url.startswith("https://") else None
