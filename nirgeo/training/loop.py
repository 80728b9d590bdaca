"""The training loop: steps, moving average, validation on other places, checkpoints, a log."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from nirgeo import hints
from nirgeo.errors import TrainingError
from nirgeo.generator import GeneratorConfig, LocalAffineGenerator, channels_last
from nirgeo.metrics import scene_error
from nirgeo.modelfile import ModelSpec, load_generator, read_model, write_model
from nirgeo.radiometry import Quantity, from_working
from nirgeo.training import losses
from nirgeo.training.checkpoint import load_checkpoint, read_facts, save_checkpoint
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import COLOURS, FloatArray, Sampler, TrainingScene
from nirgeo.training.table import fit_table, input_range

Report = Callable[[Mapping[str, Any]], None]

_M = TypeVar("_M", bound=nn.Module)

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
BEST = "best.safetensors"


@dataclass(frozen=True)
class ValidationScore:
    """Means over places; ``relative`` is the mean of both errors over the table's (1 = table)."""

    angular: float
    rmse: float
    relative: float


VALIDATION_HINT_ERROR = 0.15
"""Error of the hints given in validation: that of a map of the world's colours (log ratios)."""


def validation_hint(scene: TrainingScene, quantity: Quantity) -> FloatArray:
    """One wrong hint for a whole scene, (3,): its true mean colour with an error.

    The error depends on the scene's name alone, so that every validation asks the same question.
    """
    seed = zlib.crc32(scene.name.encode())
    error = np.random.default_rng(seed).normal(0, VALIDATION_HINT_ERROR, size=2)
    ratios = hints.log_ratios(from_working(scene.mean_colour, quantity)) + error
    return hints.encode(ratios, hints.trust(VALIDATION_HINT_ERROR))


def place_means(
    network: nn.Module,
    scenes: Sequence[TrainingScene],
    quantity: Quantity,
    device: torch.device,
    *,
    hinted: bool = False,
) -> dict[str, tuple[float, float]]:
    """Angular error and RMSE of every place, its scenes averaged first."""
    network.eval()
    by_place: dict[str, list[tuple[float, float]]] = {}
    for scene in scenes:
        hint = validation_hint(scene, quantity) if hinted else None
        predicted = predict_scene(network, scene, device, hint)
        unit = np.float32(1 if quantity is Quantity.REFLECTANCE else 255)
        error = scene_error(
            from_working(np.clip(predicted, 0, None), quantity) / unit,
            from_working(scene.colours, quantity) / unit,
            scene.valid,
        )
        if error.pixels:
            by_place.setdefault(scene.place, []).append((error.angular, error.rmse))
    return {
        place: (float(np.mean([e[0] for e in errors])), float(np.mean([e[1] for e in errors])))
        for place, errors in by_place.items()
    }


def predict_scene(
    network: nn.Module,
    scene: TrainingScene,
    device: torch.device,
    hint: FloatArray | None = None,
) -> FloatArray:
    """The network over a whole scene, its right and bottom edge repeated to the stride.

    ``hint`` (3,) holds for the whole scene.
    """
    stride = int(network.stride)  # type: ignore[arg-type]
    height, width = scene.shape
    pad = ((0, 0), (0, -height % stride), (0, -width % stride))
    inputs = torch.from_numpy(np.pad(scene.inputs, pad, mode="edge"))[None].to(device)
    valid = np.pad(scene.valid[None].astype(np.float32), pad, mode="edge")
    with torch.inference_mode():
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        field = None
        if hint is not None:
            rows, cols = inputs.shape[2] // stride, inputs.shape[3] // stride
            field = torch.from_numpy(hint).to(device).view(1, -1, 1, 1).expand(-1, -1, rows, cols)
        out = network(inputs, torch.from_numpy(valid)[None].to(device), field)
    result: FloatArray = out[0, :, :height, :width].cpu().numpy()
    return result


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


class Trainer:
    """One run in one folder: checkpoint, best weights, ``log.jsonl``, ``config.json``."""

    def __init__(
        self,
        config: TrainingConfig,
        training: Sequence[TrainingScene],
        validation: Sequence[TrainingScene],
        folder: Path,
        *,
        spec: ModelSpec | None = None,
        device: str = "cpu",
        report: Report = lambda event: None,
    ) -> None:
        shared = {s.place for s in training} & {s.place for s in validation}
        if shared:
            raise TrainingError(
                "training and validation share places, so validation would measure memory: "
                + ", ".join(sorted(shared)[:5])
            )
        if not any(scene.valid.any() for scene in validation):
            raise TrainingError("no validation scene has a valid pixel; give scenes to validate on")
        self.config = config
        self.validation = [scene for scene in validation if scene.valid.any()]
        self.folder = folder
        self.device = torch.device(device)
        self.report = report
        self.sampler = Sampler(training, config)
        self.spec = spec
        generator = torch.Generator().manual_seed(config.seed)
        self.network = _seeded(_build, config, generator).to(self.device)
        self.network.dropout = config.dropout
        self.average = _seeded(_build, config, torch.Generator()).to(self.device)
        self.average.requires_grad_(False)
        self.discriminator = _seeded(
            lambda c: losses.PatchDiscriminator(len(c.bands) + len(COLOURS)), config, generator
        ).to(self.device)
        self.optimizers = {
            "generator": torch.optim.AdamW(
                self.network.parameters(),
                lr=config.learning_rate,
                betas=(0.9, 0.99),
                weight_decay=config.weight_decay,
            ),
            "discriminator": torch.optim.AdamW(
                self.discriminator.parameters(), lr=config.discriminator_rate, betas=(0.5, 0.99)
            ),
        }
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf
        self.table_places: dict[str, tuple[float, float]] = {}

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {
            "network": self.network,
            "average": self.average,
            "discriminator": self.discriminator,
        }

    def start(self, initial: Path | None = None) -> None:
        """Fit the table, or take up the checkpoint in the folder.

        With ``initial``, a model file of the same shape, a new run starts from its weights, table
        included. The score of step 0 stays that of a newly fitted table.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config_file = self.folder / "config.json"
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.exists():
            # The configuration first: with another one the weights may not even fit.
            recorded = read_facts(checkpoint).get("config")
            if recorded != json.loads(json.dumps(self.config.to_json())):
                raise TrainingError(
                    f"{checkpoint} was made with another configuration; use another folder"
                )
            facts = load_checkpoint(checkpoint, self.modules, self.optimizers)
            self.step, self.seconds, self.best = facts["step"], facts["seconds"], facts["best"]
            self.table_places = {k: (v[0], v[1]) for k, v in facts["table_places"].items()}
            self._cut_log()
            return
        config_file.write_text(json.dumps(self.config.to_json(), indent=1) + "\n")
        (self.folder / LOG).write_text("")
        maximum = self.config.table_max
        table = torch.from_numpy(fit_table(self.sampler, self.config.knots, maximum))
        span = torch.from_numpy(input_range(self.sampler, maximum))
        for network in (self.network, self.average):
            network.table.values.copy_(table)
            network.input_range.copy_(span)
        self.average.load_state_dict(self.network.state_dict())
        # The correction still is zero: this is the table's own score, the one to beat.
        self.table_places = place_means(
            self.average, self.validation, self.config.quantity, self.device
        )
        self._validate()
        if initial is not None:
            self._take_weights(initial)

    def _take_weights(self, initial: Path) -> None:
        model = read_model(initial)
        if dict(model.spec.generator) != self.network.config.to_json():
            raise TrainingError(f"{initial}: its network has another shape than this configuration")
        weights = load_generator(model).state_dict()
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def _cut_log(self) -> None:
        """Forget what was logged after the checkpoint; it is about to happen again."""
        log = self.folder / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        kept = [line for line in lines if _logged_step(line) <= self.step]
        log.write_text("".join(line + "\n" for line in kept))

    def run(self, *, minutes: float | None = None) -> None:
        """Train until ``config.steps``, or for ``minutes`` of this call; both end saved."""
        began = time.monotonic()
        config = self.config
        while self.step < config.steps:
            mark = time.monotonic()
            record = self._train_step()
            self.seconds += time.monotonic() - mark
            self.step += 1
            if self.step % 20 == 0:
                self._log({"event": "train", **record})
            if self.step % config.validate_every == 0 or self.step == config.steps:
                self._validate()
                self._save()
            if minutes is not None and time.monotonic() - began > minutes * 60:
                break
        self._save()

    def _train_step(self) -> dict[str, float]:
        config = self.config
        inputs, colours, valid, hint = (
            torch.from_numpy(a).to(self.device).contiguous(memory_format=torch.channels_last)
            for a in self.sampler.batch(self.step)
        )
        rate = learning_rate(self.step, config)
        for group in self.optimizers["generator"].param_groups:
            group["lr"] = rate
        self.network.train()
        mixed = self.device.type == "cuda"
        with (
            _dropout_of(config.seed, self.step, self.device),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed),
        ):
            prediction = self.network(inputs, valid, hint)
        prediction = prediction.float()
        l1 = losses.reconstruction(prediction, colours, valid)
        cosine = losses.direction(prediction, colours, valid, config.quantity)
        loss = l1 + config.cosine * cosine
        record = {"l1": l1.item(), "cosine": cosine.item(), "learning_rate": rate}
        if config.adversarial > 0 and self.step >= config.adversarial_from * config.steps:
            record["discriminator"] = self._train_discriminator(inputs, colours, prediction, valid)
            self.discriminator.requires_grad_(False)
            fooled = losses.generator_hinge(self.discriminator(inputs, prediction * valid))
            self.discriminator.requires_grad_(True)
            loss = loss + config.adversarial * fooled
            record["adversarial"] = fooled.item()
        self.optimizers["generator"].zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizers["generator"].step()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                mean.lerp_(value, 1 - decay)
        if not math.isfinite(record["l1"]):
            raise TrainingError(
                f"the loss is {record['l1']} at step {self.step}; lower learning_rate"
            )
        return record

    def _train_discriminator(
        self,
        inputs: torch.Tensor,
        colours: torch.Tensor,
        prediction: torch.Tensor,
        valid: torch.Tensor,
    ) -> float:
        real = self.discriminator(inputs, colours * valid)
        fake = self.discriminator(inputs, prediction.detach() * valid)
        loss = losses.discriminator_hinge(real, fake)
        self.optimizers["discriminator"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["discriminator"].step()
        return loss.item()

    def score(self, *, hinted: bool = False) -> ValidationScore:
        """The averaged weights on the validation places."""
        places = place_means(
            self.average, self.validation, self.config.quantity, self.device, hinted=hinted
        )
        mean = np.mean(list(places.values()), axis=0)
        table = np.mean([self.table_places[place] for place in places], axis=0)
        relative = float((mean / table).mean())
        return ValidationScore(float(mean[0]), float(mean[1]), relative)

    def _validate(self) -> None:
        score = self.score()
        facts = {"angular": score.angular, "rmse": score.rmse, "relative": score.relative}
        judged = score.relative
        if self.config.hint_share > 0:
            hinted = self.score(hinted=True)
            facts |= {"hinted_angular": hinted.angular, "hinted_rmse": hinted.rmse}
            judged = (judged + hinted.relative) / 2
        better = judged < self.best
        if better:
            self.best = judged
            self._export()
        self._log({"event": "validation", **facts, "judged": judged, "best": better})

    def _export(self) -> None:
        if self.spec is None:
            return
        state = {k: v.detach().cpu().numpy() for k, v in self.average.state_dict().items()}
        write_model(self.folder / BEST, self.spec, state)

    def _save(self) -> None:
        facts = {
            "config": self.config.to_json(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "table_places": self.table_places,
        }
        save_checkpoint(self.folder / CHECKPOINT, self.modules, self.optimizers, facts)

    def _log(self, event: Mapping[str, Any]) -> None:
        record = {"step": self.step, "seconds": round(self.seconds, 1), **event}
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        self.report(record)


def _logged_step(line: str) -> float:
    """The step of a line of the log; infinity for one that was cut off while it was written."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def generator_config(config: TrainingConfig) -> GeneratorConfig:
    return GeneratorConfig(
        in_bands=len(config.bands),
        out_bands=len(COLOURS),
        width=config.width,
        depth=config.depth,
        knots=config.knots,
        table_max=config.table_max,
    )


def _build(config: TrainingConfig) -> LocalAffineGenerator:
    return channels_last(LocalAffineGenerator(generator_config(config)))


@contextmanager
def _dropout_of(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """What is dropped in a step follows from seed and step alone, as the batch does.

    Otherwise a resumed training would go another way than an uninterrupted one. torch's global
    generators are left as they were.
    """
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))
        yield


def _seeded(
    build: Callable[[TrainingConfig], _M], config: TrainingConfig, generator: torch.Generator
) -> _M:
    """Build under a seed of its own, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        return build(config)
