"""The error that a finished network expects of itself: learnt here, calibrated elsewhere.

The colours are frozen. A second head on the trunk, and a table over the input's value, learn the
mean angle between predicted and true colour on the training places: the loss is the negative log
likelihood of an exponential distribution, whose best parameter is the conditional mean. A network
is better on the places it learnt from than on others, and a hint of a place's colours helps it more
on others. So the whole field is then multiplied by one number, and by another where a hint is
trusted; places it did not learn from decide both. They also say which multiple of the expected
error is not exceeded by nine pixels of ten (a conformal quantile). Coverage is reported for places
left out of all that, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nirgeo.bands import COLOURS
from nirgeo.errors import TrainingError
from nirgeo.generator import GeneratorConfig, LocalAffineGenerator, channels_last
from nirgeo.metrics import angular_error
from nirgeo.modelfile import LOCAL_AFFINE, Model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity, from_working
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene
from nirgeo.training.table import hat_weights
from nirgeo.training.validation import predict_with_error, validation_hint

LEVEL = 0.9
"""Share of the pixels whose error lies within the interval."""

FLOOR = 0.05
"""Degrees added to every error, so that a few perfect pixels do not rule the likelihood."""

_BINS = 2400
_DECADES = 3
"""Ratios of actual to expected error are counted on a logarithmic scale, so far up and down."""


@dataclass(frozen=True)
class Calibration:
    """What places outside the training say of the expected errors.

    ``scale`` makes them right on average over places where no hint of the colours is given, and
    ``hinted_scale`` where one is; ``quantile`` times the scaled error is not exceeded by ``LEVEL``
    of the pixels. ``coverage`` and ``hinted_coverage`` hold the share of pixels within the interval
    for every place, without a hint and with one, when all three numbers come from other places.
    """

    scale: float
    hinted_scale: float
    quantile: float
    coverage: Mapping[str, float]
    hinted_coverage: Mapping[str, float]
    unit: str = "places"

    def describe(self) -> str:
        """One line for people."""
        facts = self.to_json()
        text = (
            f"expected errors scaled by {self.scale:.2f}, by {self.hinted_scale:.2f} with a hint; "
            f"90% within {self.quantile:.2f} times"
        )
        if facts["coverage_left_out"] is None:
            return text
        low, high = facts["coverage_range"]
        return (
            f"{text}; on {facts['places']} {self.unit} left out one by one, without a hint, "
            f"{facts['coverage_left_out']:.1%} ({low:.1%}-{high:.1%}), with one "
            f"{facts['coverage_hinted']:.1%}"
        )

    def to_json(self) -> dict[str, Any]:
        shares, hinted = list(self.coverage.values()), list(self.hinted_coverage.values())
        return {
            "level": LEVEL,
            "quantile": round(self.quantile, 4),
            "places": len(shares),
            "coverage_left_out": round(float(np.mean(shares)), 4) if shares else None,
            "coverage_range": [round(min(shares), 4), round(max(shares), 4)] if shares else None,
            "coverage_hint": "none",
            "coverage_hinted": round(float(np.mean(hinted)), 4) if hinted else None,
        }


def with_error_head(model: Model) -> LocalAffineGenerator:
    """The network of a model with an error head that knows nothing yet; colours are the same.

    What an earlier head of the model knew is forgotten, so that the same scenes teach the same.

    Raises
    ------
    TrainingError : a network of another architecture
    """
    if model.spec.architecture != LOCAL_AFFINE:
        raise TrainingError(f"{model.spec.full_name}: only {LOCAL_AFFINE} networks expect errors")
    plain = GeneratorConfig(**dict(model.spec.generator))
    network = channels_last(
        LocalAffineGenerator(replace(plain, expects_error=True, weighs_hint=True))
    )
    known = load_generator(model).state_dict()
    colours = replace(plain, expects_error=False).tensor_shapes()
    network.load_state_dict(network.state_dict() | {name: known[name] for name in colours})
    network.eval().requires_grad_(False)
    return network


def tensors_of(network: LocalAffineGenerator) -> dict[str, NDArray[np.float32]]:
    """The network's tensors as a model file holds them."""
    state = network.state_dict()
    return {name: state[name].detach().cpu().numpy() for name in network.config.tensor_shapes()}


def fit_error_head(
    network: LocalAffineGenerator,
    sampler: Sampler,
    *,
    steps: int = 400,
    rate: float = 3e-3,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Fit head and table on what the sampler draws; nothing else of the network changes."""
    config = sampler.config
    assert network.error_head is not None
    network.error_table.values.copy_(torch.from_numpy(_error_table(network, sampler)))
    table = network.error_table.values.requires_grad_(True)
    trained = [*network.error_head.requires_grad_(True).parameters(), table]
    optimizer = torch.optim.Adam(trained, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        # Other batches than the colours were trained with.
        inputs, features, errors, known = _residuals(network, sampler, config, 2_000_000 + step)
        expected = network.expected_error(inputs, features, None)  # calibration weighs hints
        likelihood = expected.log() + errors / expected
        loss = (likelihood * known).sum() / known.sum().clamp(min=1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step + 1, loss.item())
    network.requires_grad_(False)
    table.requires_grad_(False)


def _residuals(
    network: LocalAffineGenerator, sampler: Sampler, config: TrainingConfig, step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, trunk features, errors in degrees and where they are known, of one batch."""
    batch = sampler.batch(step)
    inputs, colours, valid, hint = (
        torch.from_numpy(a).contiguous(memory_format=torch.channels_last) for a in batch
    )
    with torch.no_grad():
        features = network.features(inputs, valid, hint)
        made = network.colours(inputs, features)
        if made.shape[1] < len(COLOURS):
            made = torch.cat((colours[:, : len(COLOURS) - made.shape[1]], made), dim=1)
    predicted, truth = (
        from_working(np.clip(a.numpy(), 0, None), config.quantity).swapaxes(0, 1)
        for a in (made, colours)
    )
    degrees = angular_error(predicted.astype(np.float64), truth.astype(np.float64))
    known = (np.isfinite(degrees) & (batch.valid[:, 0] > 0))[:, None]
    errors = np.where(known, np.nan_to_num(degrees)[:, None], 0).astype(np.float32) + FLOOR
    return inputs, features, torch.from_numpy(errors), torch.from_numpy(known.astype(np.float32))


def _error_table(
    network: LocalAffineGenerator, sampler: Sampler, batches: int = 12
) -> NDArray[np.float32]:
    """Logarithm of the mean error by value, shared among the bands: (bands, knots, 1)."""
    config, knots = network.config, network.config.knots
    sums = np.zeros((config.in_bands, knots))
    counts = np.zeros((config.in_bands, knots))
    for step in range(batches):
        inputs, _, errors, known = _residuals(network, sampler, sampler.config, 3_000_000 + step)
        keep = known[:, 0].numpy() > 0
        for band in range(config.in_bands):
            left, part = hat_weights(inputs[:, band].numpy()[keep], knots, config.table_max)
            for index, weight in ((left, 1 - part), (left + 1, part)):
                sums[band] += np.bincount(index, weight * errors[:, 0].numpy()[keep], knots)
                counts[band] += np.bincount(index, weight, knots)
    if not counts.any():
        raise TrainingError("the training scenes hold no valid pixel to fit expected errors to")
    overall = sums.sum() / counts.sum()
    # As if every knot had been seen a little with the mean error: no value is beyond all knowledge.
    prior = counts.sum() / counts.size * 0.02
    table = np.log((sums + prior * overall) / (counts + prior))
    return (table / config.in_bands).astype(np.float32)[:, :, None]


@dataclass(frozen=True)
class _Errors:
    """Actual and expected errors of a place: means, and a histogram of their ratio."""

    actual: float
    expected: float
    ratios: NDArray[np.float64]


_Place: TypeAlias = tuple[_Errors, _Errors]
"""Without a hint, and with one."""


def calibrate(
    network: LocalAffineGenerator,
    scenes: Sequence[TrainingScene],
    quantity: Quantity,
    *,
    by_scene: bool = False,
) -> Calibration:
    """Compare expected and actual errors on places outside the training, and scale the network's.

    Every scene is looked at without a colour hint and with one as wrong as a map of the world;
    a network that can't weigh hints has one scale for both. ``by_scene`` counts every scene as a
    place, for data of a single place: the coverage then says less.

    Raises
    ------
    TrainingError : no valid pixel
    """
    places: dict[str, list[_Place]] = {}
    for scene in scenes:
        found = _scene_errors(network, scene, quantity)
        if found is not None:
            places.setdefault(scene.name if by_scene else scene.place, []).append(found)
    if not places:
        raise TrainingError("no validation scene has a valid pixel to calibrate on")
    merged = {name: _mean(errors) for name, errors in sorted(places.items())}
    apart = network.config.weighs_hint
    scales, quantile = _fit(list(merged.values()), apart=apart)
    coverage: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for left_out in merged if len(merged) > 1 else ():
        others = [errors for name, errors in merged.items() if name != left_out]
        fitted = _fit(others, apart=apart)
        for shares, errors, scale in zip(coverage, merged[left_out], fitted[0], strict=True):
            shares[left_out] = _share_within(errors, scale * fitted[1])
    network.error_table.values += float(np.log(scales[0])) / network.config.in_bands
    if apart:
        network.error_trust += float(np.log(scales[1] / scales[0]))
    return Calibration(*scales, quantile, *coverage, "scenes" if by_scene else "places")


def _scene_errors(
    network: LocalAffineGenerator, scene: TrainingScene, quantity: Quantity
) -> _Place | None:
    parts: list[_Errors] = []
    for hint in (None, validation_hint(scene, quantity)):
        colours, expected = predict_with_error(network, scene, hint)
        predicted, truth = (
            from_working(np.clip(a, 0, None), quantity).astype(np.float64)
            for a in (colours, scene.colours)
        )
        degrees = angular_error(predicted, truth)
        keep = np.isfinite(degrees) & scene.valid
        if not keep.any():
            return None
        actual, said = degrees[keep], expected[0][keep].astype(np.float64)
        histogram = np.bincount(_bin(actual / said), minlength=_BINS) / keep.sum()
        parts.append(_Errors(float(actual.mean()), float(said.mean()), histogram))
    return parts[0], parts[1]


def _bin(ratio: NDArray[np.float64]) -> NDArray[np.intp]:
    with np.errstate(divide="ignore"):
        position = (np.log10(ratio) + _DECADES) * (_BINS / (2 * _DECADES))
    return np.clip(position, 0, _BINS - 1).astype(np.intp)


def _bins_up_to(ratio: float) -> int:
    """How many of the bins lie below a ratio."""
    return round((np.log10(ratio) + _DECADES) * _BINS / (2 * _DECADES))


def _mean(parts: Sequence[_Place]) -> _Place:
    without, hinted = (_mean_of([part[k] for part in parts]) for k in range(2))
    return without, hinted


def _mean_of(parts: Sequence[_Errors]) -> _Errors:
    return _Errors(
        float(np.mean([p.actual for p in parts])),
        float(np.mean([p.expected for p in parts])),
        np.mean([p.ratios for p in parts], axis=0),
    )


def _fit(places: Sequence[_Place], *, apart: bool) -> tuple[tuple[float, float], float]:
    """Scales without and with a hint, and the quantile of actual over scaled expected error.

    Every place weighs the same. ``apart`` gives each state its own scale; without it there is one.
    """
    states = _mean(places)
    each = states if apart else (_mean_of(states),) * 2
    first, second = (max(errors.actual, FLOOR) / errors.expected for errors in each)
    scaled = [_divided(e.ratios, s) for e, s in zip(states, (first, second), strict=True)]
    cumulative = np.cumsum(np.mean(scaled, axis=0))
    reached = int(np.searchsorted(cumulative, LEVEL * cumulative[-1])) + 1
    return (first, second), float(10 ** (reached * 2 * _DECADES / _BINS - _DECADES))


def _divided(ratios: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The histogram of ratios that are all so many times smaller."""
    moved = np.arange(_BINS) - (_bins_up_to(scale) - _bins_up_to(1))
    return np.bincount(np.clip(moved, 0, _BINS - 1), ratios, _BINS).astype(np.float64)


def _share_within(errors: _Errors, limit: float) -> float:
    """Share of pixels whose error is at most ``limit`` times what was expected."""
    return float(errors.ratios[: _bins_up_to(limit)].sum() / errors.ratios.sum())
