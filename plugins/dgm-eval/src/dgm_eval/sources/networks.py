"""Feature networks in files of other programs: TorchScript and ONNX."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgmcore import console
from dgmcore.entry import Data
from dgmcore.errors import DataError, UsageError
from dgmcore.evaluation.metric import unit
from dgmcore.sampling.settings import require_finite

__all__ = ["SUFFIXES", "FileExtractor", "is_network_file"]

SUFFIXES = (".onnx", ".pt", ".ts", ".torchscript")


def is_network_file(name: str | None) -> bool:
    """Whether features are asked for of a network in a file."""

    return name is not None and name.lower().endswith(SUFFIXES)


class FileExtractor:
    """A network in a file, with one input, data `(n, *event_shape)`, images in [0, 1], and one output `(n, ...)`.

    A network is a program: one from somebody whom you don't trust can read your files. It is said on stderr.

    Arguments:
        path: The file.
        data: What it will be given.
        device: Where TorchScript runs; ONNX runs on the CPU.

    Raises:
        DataError: If it can't be read.
        UsageError: If what reads it is not installed.
    """

    is_classifier = False

    def __init__(self, path: str, data: Data, device: torch.device):
        self.path, self.data, self.device = Path(path).expanduser(), data, device
        if not self.path.is_file():
            raise DataError(f"there is no network {path}", "check the path of --features")
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        console.warn(f"{self.path.name} is a program: use only networks from those whom you trust")
        try:
            self._run = self._onnx() if self.path.suffix.lower() == ".onnx" else self._torchscript()
        except (RuntimeError, ValueError, OSError) as e:
            what = f"{path} can't be read as a network: {_first_line(e)}"
            raise DataError(what, "give a TorchScript file (torch.jit.save) or an ONNX model") from None

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Maps data `(n, *event_shape)` to features `(n, d)`."""

        try:
            found = self._run(unit(x, self.data))
        except Exception as e:  # a foreign network may say anything of data that do not fit it
            what = f"{self.path.name} takes no data of shape {tuple(x.shape[1:])}: {_first_line(e)}"
            raise UsageError(what, "give the network what it wants, or another one") from None
        found = found.float().reshape(len(x), -1)
        require_finite(found, f"the features of {self.path.name}", "look at the network")
        return found

    def logits(self, x: Tensor) -> Tensor:
        """Refuses: a network in a file is no classifier of ours."""

        raise UsageError(f"{self.path.name} is no classifier", "name one with --features ENTRY")

    def fields(self) -> dict[str, Any]:
        """What a record says of the features."""

        return {"features": self.path.name, "features_sha256": self.sha256, "resize": None}

    def _torchscript(self) -> Any:
        network: Any = torch.jit.load(self.path, map_location=self.device).eval()
        return lambda x: network(x.to(self.device))

    def _onnx(self) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise UsageError("networks in ONNX need onnxruntime", "pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # it has exceptions of its own
            raise ValueError(_first_line(e)) from None
        name = session.get_inputs()[0].name
        return lambda x: torch.from_numpy(session.run(None, {name: x.float().cpu().numpy()})[0])


def _first_line(e: BaseException) -> str:
    lines = [line for line in str(e).splitlines() if line.strip()]
    return (lines or [type(e).__name__])[0][:200]
