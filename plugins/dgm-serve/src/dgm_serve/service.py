"""What all requests of one server share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from .catalog import Catalog
from .limits import Limits
from .shelf import Shelf
from .work import Desk

if TYPE_CHECKING:
    from .trainer.runs import Runs

__all__ = ["Service"]


class Service(msgspec.Struct, kw_only=True):
    """The catalogue, the loaded models, the desk where work is done, and the runs of training."""

    token: str
    host: str
    port: int
    limits: Limits
    catalog: Catalog
    shelf: Shelf
    desk: Desk
    runs: Runs

    @classmethod
    def make(
        cls,
        *,
        models: str | None = None,
        host: str = "127.0.0.1",
        port: int = 8765,
        token: str | None = None,
        limits: Limits | None = None,
    ) -> Service:
        """Returns a service for the models of a pattern, with a token of its own."""

        from .trainer.runs import Runs

        limits = limits or Limits()
        return cls(
            token=token or secrets.token_urlsafe(24),
            host=host,
            port=port,
            limits=limits,
            catalog=Catalog(models),
            shelf=Shelf(limits),
            desk=Desk(limits),
            runs=Runs(),
        )

    def close(self) -> None:
        """Ends all work."""

        self.desk.close()
        self.runs.close()
