"""A training step of flow matching beside torchcfm's: `pip install --no-deps torchcfm pot`, for this alone."""

from __future__ import annotations

from collections.abc import Callable

from timing import compared


def run() -> list[dict]:
    """Measures; see `run.py` for what a row is."""

    return [moons("independent", 256), moons("ot", 64), moons("ot", 256), images(32)]


def moons(coupling: str, batch: int) -> dict:
    import torch

    network = {"kind": "mlp", "width": 128, "depth": 4}
    x = torch.randn(batch, 2)
    name = f"flow matching, moons, {coupling} coupling, batch {batch}, training step"
    return step(name, {"network": network}, x, coupling, 40)


def images(batch: int) -> dict:
    import torch

    args = {
        "block_out_channels": [32, 64],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 8,
        "attention_head_dim": 16,
    }
    config = {"event_shape": [1, 28, 28], "network": {"kind": "unet", "patch": 2, "args": args}}
    x = torch.randn(batch, 1, 28, 28)
    return step(f"flow matching, small U-Net, ot coupling, batch {batch}, training step", config, x, "ot", 9)


def step(name: str, config: dict, x: object, coupling: str, repeats: int) -> dict:
    """The same network and optimiser; what differs is how a batch of paths is made."""

    import torch
    import torchcfm
    from dgm_diffusion.flowmatching.model import FlowMatching
    from dgm_diffusion.flowmatching.phases import Match

    from dgmcore.sampling.stream_noise import StreamNoise

    torch.manual_seed(0)
    model = FlowMatching(config)
    phase = Match(model, Match.Options(coupling=coupling))
    kind = "ExactOptimalTransportConditionalFlowMatcher" if coupling == "ot" else "ConditionalFlowMatcher"
    matcher = getattr(torchcfm, kind)(sigma=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def descend(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def ours() -> None:
        descend(phase.losses(x, StreamNoise(0, len(x))).mean())

    def theirs() -> None:
        t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        descend((model.velocity(xt, t) - ut).square().mean())

    calls: tuple[Callable[[], None], Callable[[], None]] = (ours, theirs)
    return compared(name, *calls, "torchcfm's matcher, the same network", repeats)
