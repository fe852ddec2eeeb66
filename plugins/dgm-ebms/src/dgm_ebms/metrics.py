"""A metric of models whose normaliser is estimated."""

from __future__ import annotations

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation import Run, metric

from .rbm import RBM

__all__ = ["log_normaliser"]


@metric(can=["density"], applies=lambda run: isinstance(run.model, RBM))
def log_normaliser(run: Run) -> Metric:
    """Log Z of a Boltzmann machine, with its standard error: that of every likelihood beyond the data's own."""

    if not isinstance(run.model, RBM):
        raise UsageError(f"{run.entry.name} is no Boltzmann machine", "use --metric nll")
    o = run.model.scoring(run.scoring_options)
    with run.progress("log Z", 1) as advance:
        found = run.model.log_z(run.seed, o.chains, o.temperatures)
        advance(1)
    how = f"nats, {o.chains} chains of {o.temperatures:,} temperatures" if found.error else "nats, exact"
    about = {"unit": how, "std": found.error, "n": o.chains, "sampling": run.scoring}
    if found.error:
        about["interval"] = (found.value - 1.96 * found.error, found.value + 1.96 * found.error)
    return run.record("log-normaliser", found.value, **about)
