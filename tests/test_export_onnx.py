"""What stands in for operations that ONNX lacks, and small models of several architectures as graphs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torchdiffeq
from dgm_export.onnx import TOLERANCE, export_onnx, kinds_of
from dgm_export.tracing import _odeint, _solve_triangular, stand_ins
from torch import nn

import dgmcore
from dgmcore.errors import DgmError
from dgmcore.loading.load import build


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("unitriangular", [False, True])
def test_a_triangular_system_is_solved_by_its_inverse(upper, left, unitriangular):
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(13, 13, generator=generator, dtype=torch.float64) / 4 + 2 * torch.eye(13, dtype=torch.float64)
    b = torch.randn(*((13, 5) if left else (5, 13)), generator=generator, dtype=torch.float64)
    how = {"upper": upper, "left": left, "unitriangular": unitriangular}
    torch.testing.assert_close(_solve_triangular(square, b, **how), torch.linalg.solve_triangular(square, b, **how))


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "rk4"])
def test_steps_in_time_are_torchdiffeqs(method):
    def field(t, x):
        return torch.sin(3 * t) * x.flip(1) - x**2

    x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    times = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    torch.testing.assert_close(
        _odeint(field, x, times, method=method), torchdiffeq.odeint(field, x, times, method=method)
    )
    with pytest.raises(NotImplementedError, match="chooses its steps"):
        _odeint(field, x, times, method="dopri5")


def test_nothing_of_torch_stays_replaced():
    """Nor is it while others compute: stand-ins are those of one thread's calls, and inside of solvers too."""
    model = build("flowmatching", {"network": {"kind": "mlp", "width": 8, "depth": 1}})
    before = (torch.linalg.inv, torch.linalg.solve_triangular, torchdiffeq.odeint)
    square = torch.eye(3) + torch.ones(3, 3)
    with stand_ins(nn.Identity(), (square,)), ThreadPoolExecutor(1) as others:
        assert (torch.linalg.inv, torch.linalg.solve_triangular, torchdiffeq.odeint) == before
        assert torch.equal(others.submit(torch.linalg.inv, square).result(), torch.inverse(square))
        with pytest.raises(NotImplementedError, match="chooses its steps"):
            dgmcore.sample(model, 2, solver="dopri5")
    assert dgmcore.sample(model, 2, solver="dopri5").shape == (2, 2)


#: Small models, one for each kind of operation that needed something.
SMALL = {
    "rnn": ({"length": 4, "hidden": 8}, {}),  # data that are levels
    "coupling": ({"dim": 4, "blocks": 2, "hidden": 8}, {}),  # triangular systems
    "glow": ({"event_shape": [1, 4, 4], "steps": [1], "hidden": [4]}, {}),  # inverses of its weights
    "flowmatching": (
        {"network": {"kind": "mlp", "width": 8, "depth": 1}},
        {"steps": 2, "solver": "heun"},
    ),  # steps in time
    "ffjord": ({"dim": 2, "hidden": [8]}, {"steps": 1}),
    "otflow": ({"dim": 2, "width": 8}, {"steps": 1}),
    "resnet-energy": ({"event_shape": [1, 8, 8], "channels": 4, "layout": "1d"}, {}),  # weights that are kept
    "ddgan": (
        {"generator": {"kind": "mlp", "width": 8}, "discriminator": {"kind": "mlp", "width": 8}},
        {},
    ),  # several inputs
    "stylegan": ({"q": 4, "code": 8, "depth": 1, "widths": [4, 4]}, {"truncation": 0.5}),  # modulated convolutions
}


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_small_models_are_the_same_as_graphs(architecture, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    config, sampling = SMALL[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(architecture, config)
    model.set_sampling_defaults(sampling)
    for weight in model.parameters():  # layers that begin as zeros would hide what is wrong behind them
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(weight.numel()))
    done = export_onnx(model.eval(), tmp_path / "model.onnx", kinds_of(model)[0])
    assert done.difference is not None and done.difference <= TOLERANCE
    assert (tmp_path / "model.onnx").stat().st_size > 500


@pytest.mark.parametrize("wide", [2e-6, 3e-5])
def test_a_model_that_is_rough_in_float32_is_compared_in_float64(monkeypatch, tmp_path, wide):
    pytest.importorskip("onnxscript")
    model = build("realnvp", {"layers": 1, "hidden": 4}).eval()
    dtypes = []

    def difference(graph, module, *about):
        dtypes.append(module.model.dtype)
        return 3e-5 if module.model.dtype is torch.float32 else wide

    monkeypatch.setattr("dgm_export.onnx._difference", difference)
    if wide > TOLERANCE:
        with pytest.raises(DgmError, match="differs from the model by 3e-05"):
            export_onnx(model, tmp_path / "model.onnx")
        assert not any(tmp_path.iterdir())
    else:
        done = export_onnx(model, tmp_path / "model.onnx")
        assert (done.difference, done.precision) == (wide, "float64")
    assert dtypes == [torch.float32, torch.float64] and model.dtype is torch.float32


def test_an_unnormalised_density_that_averages_over_draws_is_no_graph():
    parts = {"base": {"architecture": "mlp-vae"}, "critic": {"architecture": "mlp-energy"}}
    assert kinds_of(build("vaebm", {}, parts)) == []
    assert "log-prob" in kinds_of(build("ebm", {}, {"energy": {"architecture": "mlp-energy"}}))
