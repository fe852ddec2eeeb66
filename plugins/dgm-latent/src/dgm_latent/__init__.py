"""Latent space: walks between samples or data, reconstructions, and animations of them and of samplers."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [
        {"name": "reconstruct", "import": "dgm_latent.commands:reconstruct_app", "help": "Encode and decode data."},
        {
            "name": "interpolate",
            "import": "dgm_latent.commands:interpolate_app",
            "help": "Walk between samples or data in latent space.",
        },
    ]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [
        {"name": "animate", "import": "dgm_latent.animation:animate", "summary": "A sampler's way as an animation"},
        {"name": "save_gif", "import": "dgm_latent.animation:save_gif", "summary": "Pictures as an animation"},
        {"name": "make_interpolate", "import": "dgm_latent.made:write_interpolation", "summary": "Walks, for replay"},
        {"name": "make_reconstruct", "import": "dgm_latent.made:write_reconstructions", "summary": "The same"},
    ]
