"""`dgm serve`."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from dgmcore.cli import complete
from dgmcore.console import say, warn
from dgmcore.errors import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    port: Annotated[int, typer.Option(help="The port; 0 takes any that is free.", min=0, max=65535)] = 8765,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 is all.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Only these models, as in dgm list: 'vae*'.",
            autocompletion=complete.model_names,
        ),
    ] = None,
) -> None:
    """Open a page on which every installed model can be played with.

    Prints the address, which has a token: whoever has it can use the page. Ctrl-C ends the server.
    """

    from .server import Server, listen
    from .service import Service

    with listen(host, port) as listening:
        port = listening.getsockname()[1]
        service = Service.make(models=models, host=host, port=port)
        if not service.catalog.names:
            raise UsageError(f"no model matches {models}", "see `dgm list`")
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}/?token={service.token}"
        if host in ("0.0.0.0", "::"):
            warn("others on the network can open the page if they have the token; nothing is encrypted")

        def announce() -> None:
            print(address, flush=True)
            say(f"{len(service.catalog.names)} models; Ctrl-C ends the server")
            if browser:
                threading.Thread(target=_open, args=[address], daemon=True).start()

        Server(service, announce).serve_until_stopped(listening)
    say("ended")
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith("AnyIO") for thread in threading.enumerate()):
        os._exit(0)  # a thread that is in the middle of a long step would keep us


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)
