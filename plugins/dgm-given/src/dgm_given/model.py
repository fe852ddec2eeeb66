r"""A model under observations and critics: any generator that is a function of noise, asked for its posterior.

.. math:: p(x \mid y) \propto g_\# N(0, I)(x) \cdot \prod_k \exp(w_k \, s_k(x)) \cdot \prod_j p(y_j \mid x)

References:
    [1] Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), section 4.3.1: chains in the noise
    [2] Compressed Sensing using Generative Models (Bora et al., 2017), https://arxiv.org/abs/1703.03208
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor

from dgmcore import Config, Likelihood, Model, Noise, Options
from dgmcore.compose import Tilted, step_frozen, tilt
from dgmcore.compose.tilted import score_of
from dgmcore.config import Count, Positive, Real, Whole
from dgmcore.errors import UsageError
from dgmcore.interfaces import Critic, Pushforward
from dgmcore.sampling.settings import as_model, model_name

from .diffusion import denoises
from .observation import Label, Nothing, Observation
from .parsing import observations
from .record import Record

__all__ = ["Given", "GivenDensity", "given"]

Term = Observation | Label


class Given(Model):
    """A model under observations and further critics: a generator of its posterior.

    The base is a pushforward, a tilted model, or a denoising diffusion. After sampling, :meth:`report` says what the
    samples are and how well the chains mixed.

    Parts:
        base: The model.

    Example:
        >>> # in YAML
        >>> # architecture: given
        >>> # parts: {base: realnvp-moons}
        >>> # config: {given: [x0=0.5], sigma: [0.1]}
    """

    Parts = {"base": ("generator",)}
    dtypes = (torch.float32, torch.float64)  # the steps of a chain are smaller than the roundings of others
    example = {"given": ["x0=0.5"], "sigma": [0.5], "particles": 128}
    example_parts = {"base": {"architecture": "mlp-vae", "config": {"hidden": [8]}}}

    class Config(Config):
        #: What was seen, as `--given` takes it, and what goes with it.
        given: tuple[str, ...] = ()
        operator: tuple[str, ...] = ()
        mask: tuple[str, ...] = ()
        sigma: tuple[Positive, ...] = ()
        #: Further critics: names of entries, each with its weight.
        tilt: dict[str, Real] = {}
        #: The size of a population, where the options name none; None: 4,096, of pictures 1,024.
        particles: Count | None = None

    class Sampling(Options):
        #: auto chooses by what the model can; see docs/given.md.
        sampler: Literal[
            "auto", "population", "mala", "hmc", "pcn", "langevin", "optimum", "moment", "dps", "repaint"
        ] = "auto"
        #: Steps of each chain that are diagnosed, the last of which is the sample; of diffusions, their steps.
        steps: Count | None = None
        #: Steps before: annealing, and the adaptation of step sizes.
        warmup: Whole | None = None
        #: None: adapted in the warm-up.
        step_size: Positive | None = None
        leapfrogs: Count = 5
        #: The size of a population; None: the config's.
        particles: Count | None = None
        #: Draws of the prior among which a chain's start is chosen.
        candidates: Count | None = None
        #: Whether pictures that the model does not reach are corrected where they were seen.
        correct: bool = True
        #: Of the guidance of diffusions.
        guidance: Positive = 1.0

    config: Config

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        base: Any = self.parts["base"]
        self.event_shape = tuple(base.event_shape)
        self.observations: list[Term] = []
        self.critics: list[tuple[Any, float]] = []
        self._last: Record | None = None
        self.populations: dict[Any, Any] = {}  # the last one, by what it depends on
        if isinstance(base, Given):  # asked again
            self.observations, self.critics = [*base.observations], [*base.critics]
            base = base.base
        if not (isinstance(base, Tilted | Pushforward) or denoises(base)):
            raise UsageError(
                f"{model_name(base)} can't be asked: it is no function of noise, and no diffusion",
                "dgm list --can pushforward",
            )
        self._base = (base,)  # not a second time among the parts
        c = self.config
        self.observe(*observations(base, c.given, operator=c.operator, mask=c.mask, sigma=c.sigma))
        for name, weight in c.tilt.items():
            from dgmcore.loading.load import load

            self.judge(load(name, device=base.device), weight)

    @property
    def base(self) -> Any:
        """The model that is asked."""

        return self._base[0]

    def observe(self, *seen: Term) -> None:
        """Adds observations, checked against the model's data."""

        self.observations += [one.fit(self.base) for one in seen]

    def judge(self, critic: Any, weight: float = 1.0) -> None:
        """Adds a critic."""

        if not isinstance(critic, Critic):
            raise UsageError(f"{model_name(critic)} is no critic", "dgm list --can critic")
        wanted = getattr(critic, "event_shape", None)
        if wanted is not None and tuple(wanted) != self.event_shape:
            raise UsageError(
                f"the critic judges data of shape {list(wanted)}, the model draws {list(self.event_shape)}",
                "tilt a model by a critic that was trained on the same data",
            )
        self.critics.append((critic.to(self.base.device, self.base.dtype).requires_grad_(False), float(weight)))

    # --- what chains run on ------------------------------------------------------------------------

    def tilted(self) -> Tilted:
        """Returns the base as a tilted model; one that is not is tilted by nothing."""

        base = self.base
        return base if isinstance(base, Tilted) else tilt(base, Nothing())

    def terms(self, misfit: float = 0.0) -> list[Callable[[Tensor], Tensor]]:
        """Returns the logarithms of what is multiplied to the base, functions of samples.

        Arguments:
            misfit: The deviation of what the base can't say of a datum, which adds to that of its observations.
        """

        def seen(one: Term) -> Callable[[Tensor], Tensor]:
            return (lambda x: one.score(x, misfit)) if isinstance(one, Observation) else one.score

        def judged(critic: Any, weight: float) -> Callable[[Tensor], Tensor]:
            view = _Between(self.base, critic)
            return lambda x: weight * score_of(critic, view(x))

        return [*map(seen, self.observations), *(judged(critic, weight) for critic, weight in self.critics)]

    # --- sampling ----------------------------------------------------------------------------------

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the states of the sampler; the last are the samples."""

        for look in self._looks(noise, self.sampling(options)):
            yield look()

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return deque(self._looks(noise, self.sampling(options)), maxlen=1).pop()()

    def _looks(self, noise: Noise, options: Any) -> Iterator[Callable[[], Tensor]]:
        from .samplers import chains

        if noise.start == 0:
            self._last = None
        yield from step_frozen(chains(self, noise, options), self)

    def record(self, fresh: Record) -> Record:
        """Returns the record of the run, a fresh one for its first batch."""

        if self._last is None or self._last.sampler != fresh.sampler:
            self._last = fresh
        return self._last

    def report(self) -> dict[str, Any]:
        """Returns what the last samples are, and how well the chains mixed; see :meth:`.record.Record.summary`."""

        return {} if self._last is None else self._last.summary()

    def report_line(self) -> str:
        """Returns the same in a line."""

        return "" if self._last is None else self._last.line()


class GivenDensity(Given):
    """The same for a base that has a density: that of the posterior up to a constant."""

    Parts = {"base": ("generator", "density")}
    likelihood = Likelihood.UNNORMALIZED

    def log_prob(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Returns the base's log-density (or bound, or estimate) and the scores of what is given, `(n,)`."""

        base = self.base
        plain = base.likelihood in (Likelihood.EXACT, Likelihood.UNNORMALIZED)
        value: Tensor = base.log_prob(x) if plain or noise is None else base.log_prob(x, noise=noise)
        for term in self.terms():
            value = value + term(x)
        return value


class _Between:
    """Carries samples of one model to the range of another."""

    def __init__(self, base: Any, critic: Any):
        have = base.entry.data.range if getattr(base, "entry", None) is not None else None
        want = critic.entry.data.range if getattr(critic, "entry", None) is not None else None
        self.ranges = (have, want) if have is not None and want is not None and tuple(have) != tuple(want) else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.ranges is None:
            return x
        (low, high), (bottom, top) = self.ranges
        return (x - low) * ((top - bottom) / (high - low)) + bottom


def given(
    model: Model,
    *seen: Term | str,
    tilt: Sequence[tuple[Model, float]] = (),
    options: Mapping[str, Sequence[Any]] | None = None,
) -> Given:
    """Returns a model under observations; the function behind `dgmcore.given`.

    Arguments:
        model: A pushforward, a tilted model, a denoising diffusion, or what this function returned.
        seen: Observations, or texts as `--given` takes them.
        tilt: Further critics, each with its weight.
        options: What goes with texts: `operator`, `mask`, `sigma`.

    Raises:
        UsageError: If the model can't be asked, or what is given does not fit it.
    """

    unknown = [one for one in seen if not isinstance(one, Term | str)]
    if unknown:
        raise UsageError(f"{unknown[0]!r:.60} says nothing that can be seen", "give a text such as x0=0.5")
    wrong = sorted({*(options or ())} - {"operator", "mask", "sigma"})
    if wrong:
        raise UsageError(f"given takes no {wrong[0]}", "with texts go operator, mask and sigma")
    model = as_model(model)
    how = {key: [v] if isinstance(v, str | int | float | PathLike) else v for key, v in (options or {}).items()}
    texts = [one for one in seen if isinstance(one, str)]
    inner = model.base if isinstance(model, Given) else model
    cls = GivenDensity if inner.can("density") else Given
    found = cls(None, base=model)
    found.observe(*observations(inner, texts, **how))
    found.observe(*(one for one in seen if not isinstance(one, str)))
    for critic, weight in tilt:
        found.judge(critic, weight)
    found.entry, found.noise_version = inner.entry, inner.noise_version
    return found.eval()
