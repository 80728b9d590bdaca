"""The training loop: steps, moving average, validation on other places, checkpoints, a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nirgeo.accelerator import torch_device
from nirgeo.bands import COLOURS
from nirgeo.digest import digest
from nirgeo.errors import TrainingError
from nirgeo.generator import (
    DilatedConv,
    GeneratorConfig,
    LocalAffineGenerator,
    channels_last,
)
from nirgeo.modelfile import Model, ModelSpec, read_model, write_model
from nirgeo.networks import load_generator
from nirgeo.training import losses
from nirgeo.training.batches import batches
from nirgeo.training.checkpoint import load_checkpoint, read_facts, save_checkpoint
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene, refuse_shared_places
from nirgeo.training.networks import (
    build_discriminator,
    build_generator,
    generator_config,
    optimizers,
    seeded,
)
from nirgeo.training.rebalance import ChromaRarity
from nirgeo.training.start import whiten_stem
from nirgeo.training.table import fit_table, input_range
from nirgeo.training.teacher import Teacher, fitting
from nirgeo.training.validation import ValidationScore, place_means

Report = Callable[[Mapping[str, Any]], None]

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
BEST = "best.safetensors"
LAST = "last.safetensors"
LOG_EVERY = 20
"""Steps between two lines of losses."""


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then constant or half a cosine down to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))


class Trainer:
    """One run in one folder: checkpoint, best weights, ``log.jsonl``, ``config.json``.

    Without ``validation`` (None) nothing chooses between weights: the last ones count, and are
    written to ``last.safetensors`` instead. ``loaders`` processes draw batches ahead of the steps.
    """

    def __init__(
        self,
        config: TrainingConfig,
        training: Sequence[TrainingScene],
        validation: Sequence[TrainingScene] | None,
        folder: Path,
        *,
        spec: ModelSpec | None = None,
        teacher: Teacher | None = None,
        device: str = "cpu",
        loaders: int = 0,
        report: Report = lambda event: None,
    ) -> None:
        refuse_shared_places(training, validation or ())
        if validation is not None and not any(scene.valid.any() for scene in validation):
            raise TrainingError("no validation scene has a valid pixel; give scenes to validate on")
        self.config = config
        self.validation = [scene for scene in validation or () if scene.valid.any()]
        self.selects = validation is not None
        sides = {"training": training, "validation": validation or ()}
        self.scenes = digest(
            {
                name: [(scene.place, scene.name, *scene.shape, scene.checksum) for scene in side]
                for name, side in sides.items()
            }
        )
        self.folder = folder
        self.device = torch_device(device)
        self.loaders = loaders
        self.report = report
        self.sampler = Sampler(training, config)
        self.spec = spec
        self.teacher = teacher
        generator = torch.Generator().manual_seed(config.seed)
        self.network = seeded(build_generator, config, generator).to(self.device)
        self.network.dropout = config.dropout  # type: ignore[assignment]
        self.average = seeded(build_generator, config, torch.Generator()).to(self.device)
        self.average.requires_grad_(False)
        self.discriminator = seeded(build_discriminator, config, generator).to(self.device)
        self.optimizers = optimizers(config, self.network, self.discriminator)
        if self.device.type != "cpu":
            for layer in self.network.modules():
                if isinstance(layer, DilatedConv):
                    layer.whole = True  # only the CPU's last bits need it in parts
        self.step = 0
        self.seconds = 0.0
        self.best = math.inf
        self.table_places: dict[str, tuple[float, float]] = {}
        self.initial: dict[str, Any] = {}
        self.worse_than_table = False
        """Whether the weights that a run has started from are, so that they are not the best."""
        self.rarity: ChromaRarity | None = None
        if config.rebalance > 0:
            self.rarity = ChromaRarity.measure(self.sampler, config.rebalance).to(self.device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {
            "network": self.network,
            "average": self.average,
            "discriminator": self.discriminator,
        }

    def start(self, initial: Path | None = None, *, new_table: bool = False) -> None:
        """Fit the table, or take up the checkpoint in the folder.

        With ``initial``, a model file whose tensors have the same shapes, a new run starts from its
        weights, table included unless there is to be a ``new_table``. The first score of
        step 0 stays that of a newly fitted table; a second one is theirs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if initial is not None:
            self.initial = {"sha256": read_model(initial).sha256, "new_table": new_table}
        config_file = self.folder / "config.json"
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.exists():
            # The configuration first: with another one the weights may not even fit.
            recorded = read_facts(checkpoint).get("config")
            wanted = json.loads(json.dumps(self.config.to_json()))
            usual = TrainingConfig(self.config.quantity).to_json()  # of numbers that came later
            if recorded is None or usual | recorded != wanted:
                raise TrainingError(
                    f"{checkpoint} was made with another configuration; use another folder"
                )
            if read_facts(checkpoint).get("scenes", self.scenes) != self.scenes:
                raise TrainingError(
                    f"{checkpoint} was made with other scenes; use another folder, or the same ones"
                )
            if read_facts(checkpoint).get("initial", {}) != self.initial:
                raise TrainingError(
                    f"{checkpoint} started from other weights (--init, --new-table); use another "
                    "folder, or the same ones"
                )
            best = self.folder / BEST
            if self.selects and self.spec is not None and not best.exists():
                raise TrainingError(
                    f"{best} is gone, and {CHECKPOINT} holds the last weights only; use another "
                    "folder"
                )
            facts = load_checkpoint(checkpoint, self.modules, self.optimizers)
            self.step, self.seconds, self.best = facts["step"], facts["seconds"], facts["best"]
            self.table_places = {k: (v[0], v[1]) for k, v in facts["table_places"].items()}
            self._cut_log()
            self._name_anew(best)
            return
        origin: Model | None = None
        if initial is not None:
            origin = fitting(initial, self.config)  # before a file or a table is made
            if new_table and not isinstance(self.network, LocalAffineGenerator):
                raise TrainingError("--new-table: networks of this kind have no table")
        self._refuse_to_replace(config_file)
        config_file.write_text(json.dumps(self.config.to_json(), indent=1) + "\n")
        (self.folder / LOG).write_text("")
        if isinstance(self.network, LocalAffineGenerator):
            self._fit_table(self.network)
            if self.config.whiten:
                whiten_stem(self.network, self.sampler, self.config.seed)
            if self.teacher is not None and not new_table:
                self.teacher.lend_tables(self.network)
        self.average.load_state_dict(self.network.state_dict())
        if self.selects:
            # A table alone, the score to beat: a fresh local affine generator is its table.
            table = self._table_network()
            self.table_places = place_means(
                table, self.validation, self.config.quantity, self.device
            )
            if not self.table_places:
                raise TrainingError(
                    "no validation scene has a true colour but black; give scenes to validate on"
                )
            self._validate()
        if origin is not None:
            self._take_weights(origin, new_table)
            if self.selects:  # a training that only makes them worse ends with them
                self.worse_than_table = not self._validate()

    def _name_anew(self, best: Path) -> None:
        """Let the best weights say what is said of them now: a name, a licence, an attribution."""
        if self.spec is None or not self.selects:
            return
        model = read_model(best)
        now = {key: getattr(self.spec, key) for key in ("name", "licence", "attribution")}
        spec = replace(model.spec, **now)
        if spec != model.spec:
            state = load_generator(model).state_dict()
            names = generator_config(self.config).tensor_shapes()
            write_model(best, spec, {name: state[name].numpy() for name in names})

    def _refuse_to_replace(self, config_file: Path) -> None:
        """A training that was ended before its first checkpoint begins anew; nothing else does.

        Raises
        ------
        TrainingError : the folder holds what hours may have gone into, or another program's files
        """
        best, log = self.folder / BEST, self.folder / LOG
        if config_file.exists():
            try:
                TrainingConfig.from_json(json.loads(config_file.read_text()))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise TrainingError(
                    f"{config_file} is no configuration of a training, and would be replaced; use "
                    "another folder"
                ) from error
        if not best.exists():
            return
        lines = log.read_text().splitlines() if log.exists() else []
        steps = [_logged_step(line) for line in lines]
        # A checkpoint follows every validation but that of step 0, and before the next line.
        validated = [k for k, line in enumerate(lines) if steps[k] > 0 and '"validation"' in line]
        if not steps or steps[0] != 0 or (validated and validated[0] + 1 < len(lines)):
            raise TrainingError(
                f"{best} would be replaced, as there is no {CHECKPOINT} to go on from; use another "
                "folder, or take it away"
            )

    def _fit_table(self, network: LocalAffineGenerator) -> None:
        knots, maximum = network.config.knots, network.config.table_max
        made = [COLOURS.index(colour) for colour in self.config.predicted]
        plain = self.sampler.unjittered()
        table = fit_table(plain, knots, maximum, colours=made)
        network.table.values.copy_(torch.from_numpy(table))
        network.input_range.copy_(torch.from_numpy(input_range(self.sampler, maximum)))

    def _table_network(self) -> LocalAffineGenerator:
        config = self.config
        shape = GeneratorConfig(
            in_bands=len(config.bands),
            out_bands=len(config.predicted),
            width=4,
            depth=0,
            knots=config.knots,
            table_max=config.table_max,
        )
        with torch.random.fork_rng(devices=[]):
            network = channels_last(LocalAffineGenerator(shape)).to(self.device)
        if isinstance(self.network, LocalAffineGenerator):
            network.table.values.copy_(self.network.table.values)
        else:
            self._fit_table(network)
        return network.requires_grad_(False)

    def _take_weights(self, origin: Model, new_table: bool) -> None:
        """Weights of a model whose tensors fit: its view and its averaging may be others, and what
        it learnt of its errors is left behind."""
        known = load_generator(origin).state_dict()
        fitted = self.network.state_dict()
        weights = {name: known[name] for name in fitted}
        if new_table:
            weights |= {name: fitted[name].clone() for name in ("table.values", "input_range")}
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def _cut_log(self) -> None:
        """Forget what was logged after the checkpoint; it is about to happen again."""
        log = self.folder / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        kept = [line for line in lines if _logged_step(line) <= self.step]
        log.write_text("".join(line + "\n" for line in kept))

    def run(
        self, *, minutes: float | None = None, ending: Callable[[], object] = lambda: False
    ) -> None:
        """Train until ``config.steps``, or for ``minutes`` of this call, or until ``ending`` says
        yes, which is asked before every step and makes it the last; all end saved.

        Raises
        ------
        TrainingError : the loss is no number, the checkpoint can't be written, or a process that
            draws batches ended
        """
        try:
            self._steps(minutes, ending)
        except RuntimeError as error:
            # torch tells it wherever the training is just then.
            if self.loaders and "DataLoader worker" in str(error):
                raise TrainingError(
                    "a process that draws patches ended before its time; if memory is short, use "
                    "fewer --loaders"
                ) from error
            raise
        self._save()
        if not self.selects:
            self._export(LAST)

    def _steps(self, minutes: float | None, ending: Callable[[], object]) -> None:
        began = time.monotonic()
        config, drawn = self.config, self._batches()
        while self.step < config.steps:
            mark = time.monotonic()
            step = self.step + 1
            tells = step % LOG_EVERY == 0
            validates = step % config.validate_every == 0 or step == config.steps
            late = bool(ending()) or (minutes is not None and mark - began > minutes * 60)
            record = self._train_step(next(drawn))
            if tells or validates or late:
                # Reading a number waits for the device, so not at every step.
                record = self._read(record)
            self.seconds += time.monotonic() - mark
            self.step = step
            if tells:
                self._log({"event": "train", **record})
            if validates:
                if self.selects:
                    self._validate()
                self._save()
            if late:
                break

    def _batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Those of the steps to come."""
        pin = self.device.type == "cuda"
        return batches(self.sampler, self.step, self.config.steps, loaders=self.loaders, pin=pin)

    def _read(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of a step.

        Raises
        ------
        TrainingError : the loss is none
        """
        numbers = {name: float(value) for name, value in record.items()}
        if not math.isfinite(numbers["l1"]):
            raise TrainingError(
                f"the loss is {numbers['l1']} at step {self.step}; lower learning_rate"
            )
        return numbers

    def _train_step(self, batch: Sequence[torch.Tensor]) -> dict[str, Any]:
        """One step with a batch; its losses as numbers that the device may still be at."""
        config = self.config
        inputs, colours, valid, hint = (
            part.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            for part in batch
        )
        if self.teacher is not None:
            made = self.teacher(inputs, valid, hint)
            colours = torch.cat((colours[:, : len(COLOURS) - made.shape[1]], made), dim=1)
        rate = learning_rate(self.step, config)
        for group in self.optimizers["generator"].param_groups:
            group["lr"] = rate
        self.network.train()
        mixed = self.device.type == "cuda"
        with (
            _dropout_of(config, self.step, self.device),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed),
        ):
            prediction = self.network(inputs, valid, hint)
        prediction = prediction.float()
        if len(config.predicted) < len(COLOURS):
            measured = colours[:, : len(COLOURS) - len(config.predicted)]
            prediction = torch.cat((measured, prediction), dim=1)
        weight = valid
        if self.rarity is not None:
            weight = valid * self.rarity.weights(colours)
        terms = self._terms(prediction, colours, weight)
        record: dict[str, Any] = {"l1": terms["l1"], "cosine": terms["cosine"]}
        record["learning_rate"] = rate
        loss = self._weighed(terms)
        if config.even_cast > 0:
            evened = self._terms(losses.without_cast(prediction, colours, valid), colours, weight)
            record |= {f"evened_{name}": evened[name] for name in ("l1", "cosine")}
            loss = (1 - config.even_cast) * loss + config.even_cast * self._weighed(evened)
        if config.structure > 0:
            loss = loss + config.structure * losses.structure(prediction, colours, valid)
        if config.adversarial > 0 and self.step >= config.adversarial_from * config.steps:
            record["discriminator"] = self._train_discriminator(inputs, colours, prediction, valid)
            self.discriminator.requires_grad_(False)
            judged = self.discriminator(inputs, prediction * valid)
            fooled = losses.adversarial(config.gan, None, judged)
            self.discriminator.requires_grad_(True)
            loss = loss + config.adversarial * fooled
            record["adversarial"] = fooled.detach()
        self.optimizers["generator"].zero_grad(set_to_none=True)
        loss.backward()
        if config.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizers["generator"].step()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mean: list[torch.Tensor] = list(self.average.parameters())
            now: list[torch.Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(mean, now, 1 - decay)
            for kept, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(current)
        return {
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in record.items()
        }

    def _terms(
        self, prediction: torch.Tensor, colours: torch.Tensor, weight: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What is wrong pixel by pixel, by name of its weight in the configuration."""
        terms = {
            "l1": losses.reconstruction(prediction, colours, weight),
            "cosine": losses.direction(prediction, colours, weight, self.config.quantity),
        }
        if self.config.squared > 0:
            terms["squared"] = losses.squares(prediction, colours, weight)
        return terms

    def _weighed(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return sum(getattr(self.config, name) * term for name, term in terms.items())

    def _train_discriminator(
        self,
        inputs: torch.Tensor,
        colours: torch.Tensor,
        prediction: torch.Tensor,
        valid: torch.Tensor,
    ) -> torch.Tensor:
        real = self.discriminator(inputs, colours * valid)
        fake = self.discriminator(inputs, prediction.detach() * valid)
        loss = losses.adversarial(self.config.gan, real, fake)
        self.optimizers["discriminator"].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers["discriminator"].step()
        return loss.detach()

    def score(self, *, hinted: bool = False) -> ValidationScore:
        """The averaged weights on the validation places."""
        places = place_means(
            self.average, self.validation, self.config.quantity, self.device, hinted=hinted
        )
        mean = np.mean(list(places.values()), axis=0)
        table = np.mean([self.table_places[place] for place in places], axis=0)
        relative = float((mean / table).mean())
        return ValidationScore(float(mean[0]), float(mean[1]), relative)

    def _validate(self) -> bool:
        """Judge the averaged weights, and keep them if they are the best; whether they are.

        Raises
        ------
        TrainingError : they make no numbers any more
        """
        score = self.score()
        if not math.isfinite(score.relative):
            raise TrainingError(
                f"the network makes no numbers any more at step {self.step}; lower learning_rate"
            )
        facts = {"angular": score.angular, "rmse": score.rmse, "relative": score.relative}
        judged = score.relative
        if self.config.hint_share > 0:
            hinted = self.score(hinted=True)
            facts |= {"hinted_angular": hinted.angular, "hinted_rmse": hinted.rmse}
            judged = (judged + hinted.relative) / 2
        better = judged < self.best
        if better:
            self.best = judged
            self._export(BEST)
        self._log({"event": "validation", **facts, "judged": judged, "best": better})
        return better

    def _export(self, name: str) -> None:
        if self.spec is None:
            return
        wanted = generator_config(self.config).tensor_shapes()
        state = self.average.state_dict()
        tensors = {key: state[key].detach().cpu().numpy() for key in wanted}
        write_model(self.folder / name, self.spec, tensors)

    def _save(self) -> None:
        facts = {
            "config": self.config.to_json(),
            "scenes": self.scenes,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "table_places": self.table_places,
            "initial": self.initial,
        }
        save_checkpoint(self.folder / CHECKPOINT, self.modules, self.optimizers, facts)

    def _log(self, event: Mapping[str, Any]) -> None:
        record = {"step": self.step, "seconds": round(self.seconds, 1), **event}
        record = {k: v if _is_json(v) else None for k, v in record.items()}
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        self.report(record)


def _is_json(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _logged_step(line: str) -> float:
    """The step of a line of the log; infinity for one that was cut off while it was written."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def _dropout_of(
    config: TrainingConfig, step: int, device: torch.device
) -> AbstractContextManager[None]:
    """Nothing to be done where nothing is dropped: a GPU's generator takes a while to be set."""
    return _seed_of(config.seed, step, device) if config.dropout > 0 else nullcontext()


@contextmanager
def _seed_of(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """What is dropped in a step follows from seed and step alone, as the batch does.

    Otherwise a resumed training would go another way than an uninterrupted one. torch's global
    generators are left as they were.
    """
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))
        yield
