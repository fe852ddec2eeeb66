"""`dgm stats`: make reference statistics of real data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dgmcore import console
from dgmcore.cli import complete

__all__ = ["app", "write_statistics"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    data: Annotated[str, typer.Argument(help="The real data, such as fashion:test.", autocompletion=complete.data)],
    out: Annotated[str, typer.Option(help="The entry's folder, whose name is the entry's.")],
    features: Annotated[
        str | None, typer.Option(help="The entry whose features are kept. [the one registered for the data]")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", min=2, help="How many data. [10,000 at most]")] = None,
    license: Annotated[str, typer.Option(help="Of the data.")] = "unknown",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Make reference statistics of real data: an entry with their features, for `dgm eval --against stats:NAME`.

    Whoever has the entry compares samples without having the data.
    """

    folder = write_statistics(data, features, out, n=n, license=license)
    if json:
        console.emit_json({"out": str(folder), "data": data})
    else:
        print(folder)


def write_statistics(
    data: str, features: str | None, out: str | os.PathLike[str], *, n: int | None = None, license: str = "unknown"
) -> Path:
    """Writes the features of real data as an entry.

    Arguments:
        data: The data, such as `fashion:test`.
        features: The network's entry; None takes the one registered for the data.
        out: The entry's folder, whose name is the entry's.
        n: How many data, chosen at random by seed 0; None takes 10,000 at most.
        license: Of the data.
    """

    import numpy as np
    import torch

    from dgmcore.data import open_for

    from ..extractor import Extractor
    from ..real import Shuffled, registered, splits
    from .given import given
    from .statistics import ReferenceStatistics

    entry = given(data, data).entry
    assert entry is not None
    against, _ = splits(data, entry)
    name = features or registered(entry.data.dataset)
    network = Extractor(name, entry.data, torch.device("cpu"))
    real = Shuffled(open_for(entry, against), n or 10_000, 0)
    with torch.no_grad():
        blocks = [network.features(real.take(np.arange(i, min(i + 500, len(real))))) for i in range(0, len(real), 500)]
    values, weights = torch.cat(blocks).float(), network.entry.weights
    config = {
        "features": name,
        "features_sha256": weights and weights.sha256,
        "against": against,
        "count": len(values),
        "dim": values.shape[1],
        "event_shape": list(entry.data.event_shape),
    }
    model = ReferenceStatistics(config)
    model.values.copy_(values)
    folder = Path(out).expanduser()
    summary = f"Reference statistics of {against}: features of {name}"
    return model.save(
        folder, name=folder.name, license=license, data=entry.data, summary=summary, architecture="reference-statistics"
    )
