"""What is told of a run: what its samples are, how well its chains mixed, and when not to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .chains import effective_size, r_hat

__all__ = ["R_HAT", "Record"]

#: Above it chains have not mixed (Gelman et al. say 1.1, Vehtari et al. 1.01 for long chains).
R_HAT = 1.05
_CHAINS = 1000  # that are diagnosed
_SHORTEST = 8  # draws of a chain from which something can be said


class Record:
    """Collects what happens in the batches of a run.

    Arguments:
        kind: What samples are where all goes well: `posterior sample`, `optimum` or `approximation`.
        sampler: The sampler's name.
        why: For an approximation, what is approximate.
    """

    def __init__(self, kind: str, sampler: str, why: str = ""):
        self.kind, self.sampler, self.why = kind, sampler, why
        self.traces: list[Tensor] = []  # (n, draws, k)
        self.accepted: list[Tensor] = []  # (n,)
        self.misfits: dict[str, list[Tensor]] = {}
        self.sigmas: dict[str, float] = {}
        self.corrected = False

    def chains(self, views: Sequence[Tensor], acceptance: Sequence[Tensor]) -> None:
        """Takes account of a batch's chains: views `(n, k)` and probabilities of acceptance `(n,)`, step by step."""

        if acceptance:
            self.accepted.append(torch.stack(list(acceptance), 1).mean(1).cpu())
        room = _CHAINS - sum(map(len, self.traces))
        if views and room > 0:
            self.traces.append(torch.stack(list(views), 1)[:room].double().cpu())

    def misfit(self, what: str, sigma: float, distance: Tensor, corrected: bool = False) -> None:
        """Takes account of a batch's misfit to an observation, `(n,)`, root mean squares; and whether it is mended."""

        self.misfits.setdefault(what, []).append(distance.cpu())
        self.sigmas[what] = sigma
        self.corrected = self.corrected or corrected

    def summary(self) -> dict[str, Any]:
        """Returns everything as plain data: `kind`, `sampler`, and where there are chains `acceptance`, `ess`, `r_hat`,
        `chains` and `draws`; `misfit` over sigma of each observation; `warnings`."""

        found: dict[str, Any] = {"kind": self.kind, "sampler": self.sampler}
        warnings = [self.why] if self.why else []
        if self.accepted:
            found["acceptance"] = round(float(torch.cat(self.accepted).mean()), 4)
        if self.traces and self.traces[0].shape[1] >= _SHORTEST:
            draws = torch.cat(self.traces)
            columns = draws.unbind(2)
            found["r_hat"] = round(max(r_hat(c) for c in columns), 4)
            found["ess"] = round(min(effective_size(c) for c in columns), 1)
            found["chains"], found["draws"] = draws.shape[0], draws.shape[1]
            if not found["r_hat"] <= R_HAT and not self.why:  # an approximation on purpose is no posterior anyway
                warnings.append(
                    f"R-hat is {found['r_hat']:.3g}, above {R_HAT}: the chains have not mixed; take more steps"
                )
        elif self.kind == "posterior sample":
            warnings.append(f"chains shorter than {_SHORTEST} steps can't be diagnosed")
        if found.get("acceptance", 1.0) < 0.01:
            warnings.append("hardly a proposal is accepted; take a smaller step_size, or another sampler")
        if self.misfits:
            found["misfit"] = {
                k: round(float(torch.cat(v).mean()) / self.sigmas[k], 3) for k, v in self.misfits.items()
            }
            far = [k for k, v in found["misfit"].items() if v > 2]
            if far:
                warnings.append(
                    f"the model does not reach {', '.join(far)}: it is {found['misfit'][far[0]]:.3g} sigma off"
                    + (", and is corrected where it was seen" if self.corrected else "")
                )
        if warnings and self.kind == "posterior sample":
            found["kind"] = "approximation"
        return {**found, "warnings": warnings}

    def line(self) -> str:
        """Returns the summary in one line."""

        s = self.summary()
        parts = [f"{s['kind']} by {s['sampler']}"]
        parts += [f"acceptance {s['acceptance']:.2f}"] if "acceptance" in s else []
        if "r_hat" in s:
            parts += [f"ESS {s['ess']:.0f} of {s['chains']} x {s['draws']}, R-hat {s['r_hat']:.3f}"]
        if s["warnings"]:
            # what is approximate on purpose, such as a short chain of a published model, has said so in its first word
            parts.append(("" if self.why else "not to be trusted: ") + "; ".join(s["warnings"]))
        return ", ".join(parts)
