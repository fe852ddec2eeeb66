"""The gallery, what is known of a model, its picture, and fetching its weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from ..catalog import calls, option_schema
from ..guard import refusal
from ..shown.about import about, facts
from ..shown.views import views_of
from .answers import events
from .asking import Ask, read_query, service_of

__all__ = ["model", "models", "picture", "pull"]


def models(request: Request) -> Response:
    """`GET /api/models?pattern=&family=&can=&dataset=`: the models, as `dgm list --json`, and a little more."""

    filters = {key: request.query_params.get(key) or None for key in ("family", "can", "dataset")}
    found = service_of(request).catalog.models(**filters)
    pattern = request.query_params.get("pattern", "")
    found = [row for row in found if pattern in row["name"]]
    return JSONResponse(found, background=BackgroundTask(_warm))


async def model(request: Request) -> Response:
    """`GET /api/models/{name}`: what is known of a model, as `dgm info --json`, and its options as JSON Schema."""

    def look() -> Response:
        from dgmcore.compose.tilted import Tilted

        catalog = service_of(request).catalog
        found = catalog.model(request.path_params["name"])
        found["tilt_schema"] = option_schema(Tilted.Sampling)
        said = {"header": facts(found), "about": about(found)}
        return JSONResponse(found | said | views_of(found, catalog.models(), calls()))

    return await run_in_threadpool(look)


def picture(request: Request) -> Response:
    """`GET /api/pictures/{name}`: the picture of samples of an entry, a PNG."""

    path = service_of(request).catalog.picture(request.path_params["name"])
    if path is None:
        return refusal(404, "this model has no picture", "draw samples of it")
    return FileResponse(path, media_type="image/png", headers={"cache-control": "private, max-age=600"})


async def pull(request: Request) -> Response:
    """`GET /api/pull?ask=JSON`: fetches a model's weights; server-sent events `progress` with bytes, then `done`."""

    service, ask = service_of(request), read_query(request, Ask)

    def fetch() -> Iterator[tuple[str, Any]]:
        from dgmcore import info, pull

        name = service.catalog.check(ask.model)
        result: list[Any] = []

        def work() -> None:
            try:
                result.append(pull(name))
            except Exception as e:
                result.append(e)

        folders, total = _cache_folders(info(name)), info(name)["bytes"]
        before = _size(folders)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while thread.is_alive():
            yield "progress", {"bytes": _size(folders) - before, "total": total}
            thread.join(0.3)
        if isinstance(result[0], Exception):
            raise result[0]
        yield "done", {"license": result[0][0].license}

    return await events(request, fetch)


def _cache_folders(entry: dict[str, Any]) -> list[Path]:
    """Where the weights of an entry will be in the cache of the Hub's client."""

    from dgmcore.hub.cache import repo_folder

    hub = (entry["weights"] or {}).get("hub")
    return [repo_folder(hub["repo"])] if hub else []


def _size(folders: list[Path]) -> int:
    size = 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                size += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
            except OSError:  # it has been moved meanwhile
                continue
    return size


def _warm() -> None:
    """Imports what the first picture needs, when the gallery has been sent."""

    time.sleep(0.3)
    import dgmcore.loading.load
    import dgmcore.sampling.draw  # noqa: F401
