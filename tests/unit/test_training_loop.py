"""The training loop on a problem small enough for a test and too hard for a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nirgeo.errors import TargetError, TrainingError
from nirgeo.modelfile import ModelSpec, read_model, write_model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity
from nirgeo.training import loop, losses
from nirgeo.training.checkpoint import load_checkpoint, read_facts, save_checkpoint
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import TrainingScene
from nirgeo.training.error_head import tensors_of, with_error_head
from nirgeo.training.loop import (
    BEST,
    CHECKPOINT,
    LAST,
    LOG,
    Trainer,
    learning_rate,
)
from nirgeo.training.networks import generator_config
from nirgeo.training.table import fit_table
from nirgeo.training.validation import (
    ValidationScore,
    place_means,
    predict_scene,
    validation_hint,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")

CONFIG = TrainingConfig(
    quantity=Quantity.REFLECTANCE,
    width=8,
    depth=1,
    knots=9,
    batch=4,
    steps=30,
    warmup=3,
    learning_rate=3e-3,
    validate_every=10,
    dropout=0.1,
    hint_share=0.5,
    adversarial=0.01,
    adversarial_from=0.3,
)


def patchwork(name: str, seed: int, size: int = 96) -> TrainingScene:
    """Bright and dark fields with noise, so that a pixel alone can't tell which one it is in.

    Bright fields are green, dark ones brown: a table must guess, the neighbourhood knows.
    """
    random = np.random.default_rng(seed)
    field = np.kron(random.random((size // 16, size // 16)) > 0.5, np.ones((16, 16))) > 0
    nir = np.clip(np.where(field, 0.6, 0.45) + random.normal(0, 0.1, (size, size)), 0.05, 1)
    colours = np.stack(
        [np.where(field, 0.2, 0.5) * nir, np.where(field, 0.5, 0.35) * nir, 0.2 * nir]
    )
    valid = np.ones((size, size), dtype=np.bool_)
    valid[:5, :9] = False
    inputs = np.where(valid, nir, 0)[None]
    return TrainingScene(name, name, inputs.astype(np.float32), colours.astype(np.float32), valid)


TRAINING = [patchwork("t1", 1), patchwork("t2", 2)]
VALIDATION = [patchwork("v1", 11), patchwork("v2", 12)]


class PowerCutError(Exception):
    """Stands for a power cut."""


def trained(
    folder: Path,
    config: TrainingConfig = CONFIG,
    *,
    power_cut_at: int | None = None,
    **options: Any,
) -> Trainer:
    """A training that ran to its end, or until a power cut right after a line of the log."""

    def report(event: Mapping[str, Any]) -> None:
        if event["step"] == power_cut_at:
            raise PowerCutError

    trainer = Trainer(config, TRAINING, VALIDATION, folder, report=report, **options)
    trainer.start()
    trainer.run()
    return trainer


def spec_of(config: TrainingConfig) -> ModelSpec:
    return ModelSpec(
        name="x",
        version=1,
        bands=config.bands,
        quantity=config.quantity,
        generator=generator_config(config).to_json(),
    )


def state(trainer: Trainer) -> dict[str, NDArray[Any]]:
    """Every number that decides how the training goes on."""
    tensors = {
        f"{name}/{key}": value.numpy().copy()
        for name, module in trainer.modules.items()
        for key, value in module.state_dict().items()
    }
    for name, optimizer in trainer.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}|{index}.{k}": np.asarray(v) for k, v in slots.items()}
    return tensors


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without the clock."""
    events = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    for event in events:
        event.pop("seconds")
    return events


def assert_same(one: Trainer, two: Trainer) -> None:
    first, second = state(one), state(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """One whole training, which several tests look at."""
    return trained(tmp_path_factory.mktemp("finished"))


class TestTraining:
    def test_it_learns_what_the_table_can_not_know(self, tmp_path: Path) -> None:
        config = replace(
            CONFIG, steps=120, validate_every=40, adversarial=0.0, hint_share=0.0, batch=6
        )
        events = [e for e in log_of(trained(tmp_path, config).folder) if e["event"] == "validation"]
        assert events[0]["relative"] == pytest.approx(1)  # before the first step: the table itself
        assert events[-1]["relative"] < 0.8
        assert events[-1]["angular"] < 0.8 * events[0]["angular"]

    def test_seed_decides_everything(self, finished: Trainer, tmp_path: Path) -> None:
        torch.manual_seed(99)  # what the process has drawn before must not matter
        again = trained(tmp_path / "again")
        assert_same(finished, again)
        assert log_of(again.folder) == log_of(finished.folder)
        other = trained(tmp_path / "other", replace(CONFIG, seed=1))
        assert not np.array_equal(
            state(other)["network/stem.weight"], state(finished)["network/stem.weight"]
        )

    def test_who_draws_the_batches_changes_nothing(self, finished: Trainer, tmp_path: Path) -> None:
        for minutes in (0, None):  # a single step, and from there to the end
            trainer = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path, loaders=2)
            trainer.start()
            trainer.run(minutes=minutes)
        assert_same(finished, trainer)
        assert log_of(tmp_path) == log_of(finished.folder)

    def test_torch_s_own_random_numbers_are_left_alone(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        trained(tmp_path, replace(CONFIG, steps=3))
        assert torch.equal(torch.get_rng_state(), before)

    def test_dropout_differs_from_step_to_step(self, tmp_path: Path) -> None:
        # A mask that is the same in every step would be another, smaller network.
        trainer = Trainer(replace(CONFIG, dropout=0.5), TRAINING, VALIDATION, tmp_path)
        masks = []
        trainer.network.head.register_forward_pre_hook(
            lambda _, inputs: masks.append((inputs[0] == 0).all(dim=(2, 3)))
        )
        trainer.start()
        masks.clear()
        drawn = trainer._batches()
        for trainer.step in range(3):
            trainer._train_step(next(drawn))
        assert not torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[1], masks[2])

    def test_the_table_stays_as_it_was_fitted(self, finished: Trainer, tmp_path: Path) -> None:
        fresh = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path)
        fresh.start()
        for name in ("table.values", "input_range"):
            expected = fresh.network.state_dict()[name]
            assert expected.abs().max() > 0
            assert torch.equal(finished.network.state_dict()[name], expected)
            assert torch.equal(finished.average.state_dict()[name], expected)

    def test_the_average_is_neither_the_start_nor_the_end(self, finished: Trainer) -> None:
        average, last = finished.average.stem.weight, finished.network.stem.weight
        assert not torch.equal(average, last)
        assert average.abs().max() > 0

    def test_log(self, finished: Trainer) -> None:
        events = log_of(finished.folder)
        assert [e["step"] for e in events if e["event"] == "validation"] == [0, 10, 20, 30]
        assert [e["step"] for e in events if e["event"] == "train"] == [20]
        train = next(e for e in events if e["event"] == "train")
        assert train["learning_rate"] == learning_rate(19, CONFIG)
        assert {"l1", "cosine", "discriminator", "adversarial"} <= train.keys()
        best = [e["judged"] for e in events if e.get("best")]
        assert best == sorted(best, reverse=True)
        config = json.loads((finished.folder / "config.json").read_text())
        assert TrainingConfig.from_json(config) == CONFIG

    def test_the_best_weights_become_a_model_file(self, tmp_path: Path) -> None:
        spec = spec_of(CONFIG)
        trainer = trained(tmp_path, spec=spec)
        network = load_generator(read_model(tmp_path / BEST))
        events = [e for e in log_of(tmp_path) if e["event"] == "validation"]
        best = [e for e in events if e["best"]][-1]
        places = place_means(network, VALIDATION, CONFIG.quantity, CPU)
        assert np.mean([p[0] for p in places.values()]) == pytest.approx(best["angular"])
        assert best["judged"] == min(e["judged"] for e in events) == trainer.best

    def test_a_second_stage_starts_from_the_weights_of_the_first(self, tmp_path: Path) -> None:
        config = replace(CONFIG, adversarial=0.0)
        first = trained(tmp_path / "first", config, spec=spec_of(CONFIG))
        weights = load_generator(read_model(first.folder / BEST)).state_dict()
        second = Trainer(config, TRAINING, VALIDATION, tmp_path / "second")
        second.start(first.folder / BEST)
        for network in (second.network, second.average):
            for name, value in network.state_dict().items():
                assert torch.equal(value, weights[name]), name
        # It is measured against the table, as every training is.
        assert log_of(second.folder)[0]["relative"] == pytest.approx(1)
        assert second.score().relative < 1
        # And they are the ones to beat: a training that spoils them leaves them.
        assert (
            second.best == log_of(second.folder)[1]["judged"] < log_of(second.folder)[0]["judged"]
        )
        renewed = Trainer(config, [TRAINING[0]], VALIDATION, tmp_path / "renewed")
        renewed.start(first.folder / BEST, new_table=True)
        for name, value in renewed.network.state_dict().items():
            assert torch.equal(value, weights[name]) is (
                name not in ("table.values", "input_range")
            ), name
        counts = replace(config, quantity=Quantity.COUNTS)
        other = Trainer(counts, TRAINING, VALIDATION, tmp_path / "counts")
        with pytest.raises(TrainingError, match="choose another model or preset"):
            other.start(first.folder / BEST)
        wider = Trainer(replace(config, width=12), TRAINING, VALIDATION, tmp_path / "wider")
        with pytest.raises(TrainingError, match=r"another shape .* or --set width=8$"):
            wider.start(first.folder / BEST)
        assert list((tmp_path / "wider").iterdir()) == []

    def test_a_second_stage_may_look_farther_and_forgets_what_errors_were_expected(
        self, tmp_path: Path
    ) -> None:
        first = trained(tmp_path / "first", replace(CONFIG, adversarial=0.0), spec=spec_of(CONFIG))
        model = read_model(first.folder / BEST)
        doubtful = with_error_head(model)
        shape = doubtful.config.to_json()
        spec = replace(model.spec, generator=shape, uncertainty={"quantile": 2.0})
        path = tmp_path / "doubtful.safetensors"
        write_model(path, spec, tensors_of(doubtful))
        config = replace(CONFIG, adversarial=0.0, dilations=(2,) * CONFIG.depth, smoothing=3)
        second = Trainer(config, TRAINING, VALIDATION, tmp_path / "second")
        second.start(path)
        for name, value in load_generator(model).state_dict().items():
            assert torch.equal(second.network.state_dict()[name], value), name
        assert (second.network.config.smoothing, second.network.config.expects_error) == (3, False)

    def test_where_red_and_green_are_measured_only_blue_is_learnt(self, tmp_path: Path) -> None:
        def with_colours(scene: TrainingScene) -> TrainingScene:
            inputs = np.concatenate((scene.colours[:2] * scene.valid, scene.inputs))
            return replace(scene, inputs=inputs)

        config = replace(CONFIG, bands=("red", "green", "nir"), steps=10)
        spec = spec_of(config)
        assert (spec.made, spec.generator["out_bands"]) == (("blue",), 1)
        validation = [with_colours(scene) for scene in VALIDATION]
        trainer = Trainer(
            config, [with_colours(s) for s in TRAINING], validation, tmp_path, spec=spec
        )
        trainer.start()
        trainer.run()
        network = load_generator(read_model(tmp_path / BEST))
        made = predict_scene(network, validation[0], CPU)
        np.testing.assert_array_equal(made[:2], validation[0].colours[:2])
        assert not np.array_equal(made[2], validation[0].colours[2])

    def test_a_training_that_explodes_says_so(self, tmp_path: Path) -> None:
        trainer = Trainer(
            replace(CONFIG, learning_rate=1e30, steps=20), TRAINING, VALIDATION, tmp_path
        )
        trainer.start()
        with pytest.raises(TrainingError, match="lower learning_rate"):
            trainer.run()


class TestPlaces:
    def test_a_scene_that_is_black_in_truth_has_no_say(self, tmp_path: Path) -> None:
        black = replace(VALIDATION[1], colours=np.zeros_like(VALIDATION[1].colours))
        config = replace(CONFIG, steps=10)
        with_it = Trainer(config, TRAINING, [VALIDATION[0], black], tmp_path / "a", spec=None)
        with_it.start()
        without = Trainer(config, TRAINING, [VALIDATION[0]], tmp_path / "b", spec=None)
        without.start()
        assert with_it.score() == without.score()
        assert np.isfinite(with_it.best)
        with pytest.raises(TrainingError, match="no validation scene has a true colour but black"):
            Trainer(config, TRAINING, [black], tmp_path / "c").start()

    def test_a_place_that_is_painted_black_is_far_off(self) -> None:
        class Black(torch.nn.Module):
            stride = 4

            def forward(self, x: torch.Tensor, *_: object) -> torch.Tensor:
                return x.new_zeros(x.shape[0], 3, *x.shape[2:])

        places = place_means(Black(), VALIDATION, CONFIG.quantity, CPU)
        assert set(places) == {scene.place for scene in VALIDATION}
        assert all(angle == 90 for angle, _ in places.values())

    def test_a_run_goes_on_with_its_own_scenes_only(self, tmp_path: Path) -> None:
        config = replace(CONFIG, steps=10)
        for training, validation in (
            (TRAINING, VALIDATION[:1]),
            (TRAINING[:1], VALIDATION),
            (TRAINING, [replace(VALIDATION[0], place="v3"), VALIDATION[1]]),
        ):
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            first = Trainer(config, TRAINING, VALIDATION, folder)
            first.start()
            first.run(minutes=0)
            with pytest.raises(TrainingError, match="made with other scenes"):
                Trainer(config, training, validation, folder).start()

    def test_other_pixels_under_the_same_name_are_other_scenes(self, tmp_path: Path) -> None:
        first = Trainer(replace(CONFIG, steps=10), TRAINING, VALIDATION, tmp_path)
        first.start()
        first.run(minutes=0)
        darker = [replace(TRAINING[0], inputs=TRAINING[0].inputs / 3), TRAINING[1]]
        with pytest.raises(TrainingError, match="made with other scenes"):
            Trainer(replace(CONFIG, steps=10), darker, VALIDATION, tmp_path).start()

    def test_the_same_pixels_under_another_name_are_refused(self, tmp_path: Path) -> None:
        copied = replace(TRAINING[0], name="copy", place="elsewhere")
        with pytest.raises(TrainingError, match="copy of validation holds the same pixels as t1"):
            Trainer(CONFIG, TRAINING, [copied, VALIDATION[1]], tmp_path)

    def test_shared_places_are_refused(self, tmp_path: Path) -> None:
        shared = replace(VALIDATION[0], place=TRAINING[0].place)
        with pytest.raises(TrainingError, match=r"share places.*: t1$"):
            Trainer(CONFIG, TRAINING, [shared, VALIDATION[1]], tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("nothing", [True, False])
    def test_nothing_to_validate_on_is_refused(self, tmp_path: Path, nothing: bool) -> None:
        empty = replace(VALIDATION[0], valid=np.zeros_like(VALIDATION[0].valid))
        with pytest.raises(TrainingError, match="no validation scene has a valid pixel"):
            Trainer(CONFIG, TRAINING, [] if nothing else [empty], tmp_path)

    @pytest.mark.filterwarnings("error")
    def test_an_empty_scene_among_others_does_no_harm(self, tmp_path: Path) -> None:
        empty = replace(VALIDATION[0], valid=np.zeros_like(VALIDATION[0].valid))
        trainer = Trainer(CONFIG, TRAINING, [empty, VALIDATION[1]], tmp_path)
        trainer.start()
        assert trainer.score(hinted=True).relative > 0

    def test_scenes_of_a_place_are_averaged_before_places(self, finished: Trainer) -> None:
        one, two = VALIDATION
        apart = place_means(finished.average, [one, two], CONFIG.quantity, CPU)
        together = place_means(
            finished.average, [one, replace(two, place=one.place)], CONFIG.quantity, CPU
        )
        assert together.keys() == {one.place}
        np.testing.assert_allclose(together["v1"], np.mean(list(apart.values()), axis=0))


class TestResume:
    @pytest.mark.parametrize("cut", [10, 20, 30])
    def test_after_a_power_cut(self, finished: Trainer, tmp_path: Path, cut: int) -> None:
        """The cut comes after a line of the log and before the checkpoint of that step."""
        with pytest.raises(PowerCutError):
            trained(tmp_path, power_cut_at=cut)
        resumed = trained(tmp_path)
        assert_same(finished, resumed)
        assert log_of(tmp_path) == log_of(finished.folder)
        assert resumed.best == finished.best

    def test_moments_lie_in_memory_as_their_weights_do(
        self, finished: Trainer, tmp_path: Path
    ) -> None:
        # Or a GPU's fused optimizer refuses them.
        shutil.copytree(finished.folder, tmp_path / "run")
        resumed = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path / "run")
        resumed.start()
        for optimizer in resumed.optimizers.values():
            for parameter, slots in optimizer.state.items():
                assert slots["exp_avg"].stride() == parameter.stride()
                assert slots["exp_avg_sq"].stride() == parameter.stride()
        assert any(w.stride() != w.contiguous().stride() for w in resumed.network.parameters())
        assert_same(finished, resumed)

    def test_after_running_out_of_time(self, finished: Trainer, tmp_path: Path) -> None:
        for _ in range(3):  # a minute budget of nothing is one step
            trainer = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path)
            trainer.start()
            trainer.run(minutes=0)
        assert read_facts(tmp_path / CHECKPOINT)["step"] == 3
        assert_same(finished, trained(tmp_path))
        assert log_of(tmp_path) == log_of(finished.folder)

    def test_after_somebody_wanted_its_end(self, finished: Trainer, tmp_path: Path) -> None:
        trainer = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path)
        trainer.start()
        trainer.run(ending=lambda: trainer.step >= 2)
        assert read_facts(tmp_path / CHECKPOINT)["step"] == 3
        assert_same(finished, trained(tmp_path))
        assert log_of(tmp_path) == log_of(finished.folder)

    def test_with_the_weights_it_began_with(self, tmp_path: Path) -> None:
        config = replace(CONFIG, adversarial=0.0, steps=10)
        first = trained(tmp_path / "first", config, spec=spec_of(config))
        best = first.folder / BEST
        folder = tmp_path / "second"
        second = Trainer(config, TRAINING, VALIDATION, folder)
        second.start(best)
        second.run(minutes=0)
        for options in ({}, {"initial": best, "new_table": True}):
            with pytest.raises(TrainingError, match="started from other weights"):
                Trainer(config, TRAINING, VALIDATION, folder).start(**options)
        again = Trainer(config, TRAINING, VALIDATION, folder)
        again.start(best)
        assert again.step == 1
        with pytest.raises(TrainingError, match="started from other weights"):
            Trainer(config, TRAINING, VALIDATION, first.folder).start(best)

    def test_weights_worse_than_a_table_are_told(self, tmp_path: Path) -> None:
        config = replace(CONFIG, adversarial=0.0, steps=10)
        first = trained(tmp_path / "first", config, spec=spec_of(config))
        path = tmp_path / "spoilt.safetensors"
        model = read_model(first.folder / BEST)
        tensors = {k: v.numpy().copy() for k, v in load_generator(model).state_dict().items()}
        tensors["table.values"] += 0.5
        write_model(path, model.spec, tensors)
        second = Trainer(config, TRAINING, VALIDATION, tmp_path / "second")
        second.start(path)
        assert second.worse_than_table
        third = Trainer(config, TRAINING, VALIDATION, tmp_path / "third")
        third.start(first.folder / BEST)
        assert not third.worse_than_table

    def test_without_its_best_weights(self, tmp_path: Path) -> None:
        config = replace(CONFIG, steps=10)
        trained(tmp_path, config, spec=spec_of(config))
        (tmp_path / BEST).unlink()
        again = Trainer(config, TRAINING, VALIDATION, tmp_path, spec=spec_of(config))
        with pytest.raises(TrainingError, match="is gone, and"):
            again.start()

    def test_without_its_checkpoint(self, tmp_path: Path) -> None:
        trained(tmp_path, spec=spec_of(CONFIG))
        (tmp_path / CHECKPOINT).unlink()  # the largest file, and the training is done
        before = (tmp_path / BEST).read_bytes()
        again = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path, spec=spec_of(CONFIG))
        with pytest.raises(TrainingError, match=r"best\.safetensors would be replaced"):
            again.start()
        (tmp_path / LOG).unlink()  # somebody's model of that name
        with pytest.raises(TrainingError, match=r"best\.safetensors would be replaced"):
            again.start()
        assert (tmp_path / BEST).read_bytes() == before

    @pytest.mark.parametrize("cut", [0, 10])
    def test_before_its_first_checkpoint(self, finished: Trainer, tmp_path: Path, cut: int) -> None:
        with pytest.raises(PowerCutError):
            trained(tmp_path, spec=spec_of(CONFIG), power_cut_at=cut)
        assert (tmp_path / BEST).exists()
        assert not (tmp_path / CHECKPOINT).exists()
        assert_same(finished, trained(tmp_path, spec=spec_of(CONFIG)))

    @pytest.mark.parametrize("text", ['{"mine": 1}', "[]", "no JSON"])
    def test_another_program_s_configuration_stays(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(TrainingError, match="no configuration of a training"):
            Trainer(CONFIG, TRAINING, VALIDATION, tmp_path).start()
        assert (tmp_path / "config.json").read_text() == text

    def test_a_line_of_the_log_cut_in_the_middle(self, finished: Trainer, tmp_path: Path) -> None:
        with pytest.raises(PowerCutError):
            trained(tmp_path, power_cut_at=20)
        log = tmp_path / LOG
        log.write_text(log.read_text().rstrip()[:-9])
        trained(tmp_path)
        assert log_of(tmp_path) == log_of(finished.folder)

    def test_a_finished_training_is_left_as_it_is(self, finished: Trainer, tmp_path: Path) -> None:
        again = Trainer(CONFIG, TRAINING, VALIDATION, finished.folder)
        before = log_of(finished.folder)
        again.start()
        again.run()
        assert_same(finished, again)
        assert log_of(finished.folder) == before

    def test_of_a_time_before_a_number_was_thought_of(
        self, finished: Trainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        facts = read_facts(finished.folder / CHECKPOINT)
        del facts["config"]["structure"]
        monkeypatch.setattr(loop, "read_facts", lambda path: facts)
        Trainer(CONFIG, TRAINING, VALIDATION, finished.folder).start()
        other = Trainer(replace(CONFIG, structure=1.0), TRAINING, VALIDATION, finished.folder)
        with pytest.raises(TrainingError, match="another configuration"):
            other.start()

    def test_every_term_of_the_loss_counts(self, finished: Trainer) -> None:
        config = replace(CONFIG, l1=2.0, squared=5.0)
        trainer = Trainer(config, TRAINING, VALIDATION, finished.folder)
        half, one, all_of_it = (
            torch.full((1, n, 4, 4), v) for n, v in ((3, 0.5), (3, 1.0), (1, 1.0))
        )
        terms = trainer._terms(half, one, all_of_it)  # of one hue, so that the cosine is 1
        assert float(trainer._weighed(terms)) == pytest.approx(2 * 0.5 + 5 * 0.25)
        terms["gain_jitter"] = torch.ones(())  # one that nobody has thought of yet
        assert float(trainer._weighed(terms)) == pytest.approx(2.25 + config.gain_jitter)

    @pytest.mark.parametrize("change", [{"learning_rate": 0.5}, {"width": 12}], ids=str)
    def test_with_another_configuration(self, finished: Trainer, change: dict[str, Any]) -> None:
        other = Trainer(replace(CONFIG, **change), TRAINING, VALIDATION, finished.folder)
        with pytest.raises(TrainingError, match="another configuration; use another folder"):
            other.start()


class TestCheckpoint:
    def test_round_trip(self, finished: Trainer, tmp_path: Path) -> None:
        path = tmp_path / "c.safetensors"
        facts = {"best": float("inf"), "text": "ü", "places": {"a": [1.5, 2.0]}}
        save_checkpoint(path, finished.modules, finished.optimizers, facts)
        fresh = Trainer(replace(CONFIG, seed=8), TRAINING, VALIDATION, tmp_path / "x")
        assert load_checkpoint(path, fresh.modules, fresh.optimizers) == facts
        assert_same(finished, fresh)
        assert list(tmp_path.iterdir()) == [path]

    def test_where_it_can_not_be_written(self, finished: Trainer, tmp_path: Path) -> None:
        nowhere = tmp_path / "nowhere" / CHECKPOINT
        with pytest.raises(TrainingError, match="can't be written"):
            save_checkpoint(nowhere, finished.modules, finished.optimizers, {})
        with pytest.raises(TargetError, match="can't be written"):
            write_model(nowhere, spec_of(CONFIG), {"x": np.zeros(1, np.float32)})

    @pytest.mark.parametrize(
        "content", [b"", b"garbage, but long enough", b"\x02" + bytes(7) + b"{}"]
    )
    def test_garbage(self, finished: Trainer, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "c.safetensors"
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"c\.safetensors: can't be resumed from"):
            load_checkpoint(path, finished.modules, finished.optimizers)

    def test_of_another_network(self, finished: Trainer, tmp_path: Path) -> None:
        other = Trainer(replace(CONFIG, depth=2), TRAINING, VALIDATION, tmp_path)
        with pytest.raises(TrainingError, match="can't be resumed from"):
            load_checkpoint(finished.folder / CHECKPOINT, other.modules, other.optimizers)


class TestPrediction:
    @pytest.mark.parametrize("size", [(96, 96), (61, 30), (5, 7)])
    def test_a_scene_of_any_size(self, finished: Trainer, size: tuple[int, int]) -> None:
        whole = VALIDATION[0]
        cut = (slice(None), slice(size[0]), slice(size[1]))
        part = TrainingScene("c", "c", whole.inputs[cut], whole.colours[cut], whole.valid[cut[1:]])
        predicted = predict_scene(finished.average.eval(), part, CPU)
        assert predicted.shape == (3, *size)
        # Far enough from the cut nobody can tell that there was one.
        inner = tuple(slice(max(0, n - finished.average.halo) if n < 96 else n) for n in size)
        np.testing.assert_allclose(
            predicted[(slice(None), *inner)],
            predict_scene(finished.average, whole, CPU)[(slice(None), *inner)],
            atol=1e-5,
        )

    def test_a_hint_holds_for_the_whole_scene(self, finished: Trainer) -> None:
        hint = validation_hint(VALIDATION[0], CONFIG.quantity)
        assert hint.shape == (3,)
        np.testing.assert_array_equal(hint, validation_hint(VALIDATION[0], CONFIG.quantity))
        network = finished.average.eval()
        without = predict_scene(network, VALIDATION[0], CPU)
        zeros = np.zeros(3, dtype=np.float32)
        np.testing.assert_array_equal(predict_scene(network, VALIDATION[0], CPU, zeros), without)
        assert not np.array_equal(predict_scene(network, VALIDATION[0], CPU, hint), without)


class TestLearningRate:
    def test_warm_up_then_half_a_cosine(self) -> None:
        config = replace(CONFIG, steps=100, warmup=10, learning_rate=1.0)
        rates = [learning_rate(step, config) for step in range(101)]
        np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
        assert rates[10] == pytest.approx(1)
        assert rates[55] == pytest.approx(0.505)
        assert rates[100] == pytest.approx(0.01)
        assert rates[10:] == sorted(rates[10:], reverse=True)

    def test_without_warm_up(self) -> None:
        assert learning_rate(0, replace(CONFIG, warmup=0)) == CONFIG.learning_rate


class TestLosses:
    def test_invalid_pixels_do_not_count(self) -> None:
        random = torch.Generator().manual_seed(0)
        truth = torch.rand(2, 3, 8, 8, generator=random)
        prediction = truth + 0.25
        valid = torch.ones(2, 1, 8, 8)
        valid[:, :, :4] = 0
        prediction[:, :, :4] = 99
        assert losses.reconstruction(prediction, truth, valid).item() == pytest.approx(0.25)
        nothing = torch.zeros_like(valid)
        assert losses.reconstruction(prediction, truth, nothing).item() == 0
        for quantity in Quantity:
            assert losses.direction(prediction, truth, nothing, quantity).item() == 0

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_direction_is_blind_to_brightness_alone(self, quantity: Quantity) -> None:
        truth = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3
        valid = torch.ones(1, 1, 8, 8)
        assert losses.direction(truth * 0.5, truth, valid, quantity).item() == pytest.approx(
            0, abs=1e-5
        )
        assert losses.direction(truth.flip(1), truth, valid, quantity).item() > 1e-2

    def test_direction_against_the_angle(self) -> None:
        truth = torch.tensor([0.3, 0.4, 0.2]).view(1, 3, 1, 1)
        prediction = torch.tensor([0.4, 0.3, 0.3]).view(1, 3, 1, 1)
        a, b = (v.flatten().numpy() for v in (truth, prediction))
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        loss = losses.direction(prediction, truth, torch.ones(1, 1, 1, 1), Quantity.COUNTS)
        assert loss.item() == pytest.approx(1 - cosine, rel=1e-4)

    def test_hinges(self) -> None:
        real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
        assert losses.adversarial("hinge", real, fake).item() == pytest.approx(0.25 + 0.75)
        assert losses.adversarial("hinge", None, fake).item() == pytest.approx(1.25)

    def test_direction_of_reflectance_is_that_of_its_light(self) -> None:
        # Networks see square roots of reflectance.
        truth = torch.tensor([0.3, 0.4, 0.5]).view(1, 3, 1, 1)
        prediction = torch.tensor([0.5, 0.3, -0.4]).view(1, 3, 1, 1)
        a, b = np.array([0.09, 0.16, 0.25]), np.array([0.25, 0.09, 0])
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        loss = losses.direction(prediction, truth, torch.ones(1, 1, 1, 1), Quantity.REFLECTANCE)
        assert loss.item() == pytest.approx(1 - cosine, rel=1e-4)

    def test_bright_pixels_weigh_no_more_in_direction_than_others(self) -> None:
        truth = torch.ones(1, 3, 1, 2)
        truth[..., 1] *= 0.3  # both are bright enough
        prediction = truth.clone()
        prediction[:, 0, :, 1] = 0
        valid = torch.ones(1, 1, 1, 2)
        loss = losses.direction(prediction, truth, valid, Quantity.COUNTS)
        assert loss.item() == pytest.approx((1 - (2 / 3) ** 0.5) / 2, rel=1e-4)

    def test_structure_is_judged_where_all_of_a_window_is_valid(self) -> None:
        truth = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        prediction, valid = truth.clone(), torch.ones(1, 1, 16, 16)
        prediction[..., 9, 9] = 7
        assert losses.structure(prediction, truth, valid).item() > 0.01
        valid[..., 9, 9] = 0
        assert losses.structure(prediction, truth, valid).item() == pytest.approx(0, abs=1e-6)

    def test_a_cast_is_taken_away_by_gains_of_a_half_to_two(self) -> None:
        truth = torch.full((1, 3, 4, 4), 0.3)
        valid = torch.ones(1, 1, 4, 4)
        valid[..., 0, 0] = 0
        prediction = truth * torch.tensor([0.1, 1.5, 10.0]).view(1, 3, 1, 1)
        evened = losses.without_cast(prediction, truth, valid)
        wanted = truth * torch.tensor([0.2, 1.0, 5.0]).view(1, 3, 1, 1)
        torch.testing.assert_close(evened, wanted)

    @pytest.mark.parametrize("kind", ["minimax", "nonsaturating", "hinge"])
    def test_who_fools_the_discriminator_loses_less(self, kind: str) -> None:
        low, high = torch.full((4,), -1.0), torch.full((4,), 1.0)

        def generator(fake: torch.Tensor) -> float:
            return losses.adversarial(kind, None, fake).item()

        assert generator(high) < generator(low)
        assert (
            losses.adversarial(kind, high, low).item() < losses.adversarial(kind, low, high).item()
        )


STEADY = replace(CONFIG, dropout=0.0, clip=0.0, adversarial=0.0, hint_share=0.0)


def gradient_of(folder: Path, **changes: Any) -> torch.Tensor:
    """Of the last layer in the first step of a training with these settings."""
    trainer = Trainer(replace(STEADY, **changes), TRAINING, None, folder)
    trainer.network.table.values += torch.linspace(0, 1, CONFIG.knots)[:, None]
    trainer._train_step(next(trainer._batches()))
    gradient = trainer.network.head.weight.grad
    assert gradient is not None
    return gradient.clone()


class TestSteps:
    """One step of the training, part by part."""

    def test_the_adversary_comes_when_it_is_its_time(self, tmp_path: Path) -> None:
        config = replace(CONFIG, adversarial_from=0.5, steps=4)
        trainer = Trainer(config, TRAINING, None, tmp_path)
        drawn, there = trainer._batches(), []
        for trainer.step in range(4):
            there.append("discriminator" in trainer._train_step(next(drawn)))
        assert there == [False, False, True, True]

    def test_the_adversary_sees_no_missing_pixel(self, tmp_path: Path) -> None:
        config = replace(CONFIG, adversarial_from=0.0, hole_share=1.0)
        trainer = Trainer(config, TRAINING, None, tmp_path)
        trainer.network.table.values += 0.5
        batch = next(trainer._batches())
        seen: list[torch.Tensor] = []
        trainer.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
        trainer._train_step(batch)
        missing = (batch[2] == 0).expand_as(seen[0])
        assert missing.any()
        assert len(seen) == 3
        assert all((colours[missing] == 0).all() for colours in seen)

    def test_a_step_makes_the_adversary_easier_to_fool(self, tmp_path: Path) -> None:
        config = replace(STEADY, l1=0.0, cosine=0.0, adversarial=1.0, adversarial_from=0.0)
        trainer = Trainer(config, TRAINING, None, tmp_path)
        batch = next(trainer._batches())
        before = trainer._train_step(batch)["adversarial"].item()
        inputs, _, valid, hint = batch
        trainer.discriminator.requires_grad_(False)
        with torch.no_grad():
            judged = trainer.discriminator(inputs, trainer.network(inputs, valid, hint) * valid)
        assert losses.adversarial(config.gan, None, judged).item() < before

    def test_the_gradient_is_no_longer_than_it_may_be(self, tmp_path: Path) -> None:
        free = gradient_of(tmp_path / "free")
        trainer = Trainer(replace(STEADY, clip=1e-3), TRAINING, None, tmp_path / "clipped")
        trainer._train_step(next(trainer._batches()))
        gradients = [p.grad for p in trainer.network.parameters() if p.grad is not None]
        assert free.norm() > 2e-3
        assert torch.cat([g.flatten() for g in gradients]).norm().item() <= 1e-3 * 1.001

    def test_the_average_follows_faster_at_first(self, tmp_path: Path) -> None:
        trainer = Trainer(replace(STEADY, ema=0.5), TRAINING, None, tmp_path)
        drawn = trainer._batches()
        for trainer.step, decay in ((0, 0.1), (1, 2 / 11), (20, 0.5)):
            before = trainer.average.stem.weight.clone()
            trainer._train_step(next(drawn))
            now = trainer.network.stem.weight.detach()
            wanted = decay * before + (1 - decay) * now
            torch.testing.assert_close(trainer.average.stem.weight, wanted, rtol=1e-4, atol=1e-7)

    def test_the_average_has_the_statistics_of_its_network(self, tmp_path: Path) -> None:
        config = replace(STEADY, architecture="encoder-decoder", width=4, levels=2)
        trainer = Trainer(config, TRAINING, None, tmp_path)
        before = {k: v.clone() for k, v in trainer.average.named_buffers()}
        trainer._train_step(next(trainer._batches()))
        now = dict(trainer.network.named_buffers())
        assert any(not torch.equal(value, before[name]) for name, value in now.items())
        for name, value in trainer.average.named_buffers():
            assert torch.equal(value, now[name]), name

    def test_evenness_is_a_part_of_the_loss(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = gradient_of(tmp_path / "plain")
        # A prediction that is perfect but for its cast: what is left is the other part.
        monkeypatch.setattr(losses, "without_cast", lambda prediction, colours, valid: colours)
        evened = gradient_of(tmp_path / "evened", even_cast=0.25)
        torch.testing.assert_close(evened, 0.75 * plain, rtol=1e-4, atol=1e-8)

    @pytest.mark.parametrize("name", ["l1", "squared", "cosine", "structure"])
    def test_every_part_of_the_loss_is_learnt_from(self, tmp_path: Path, name: str) -> None:
        nothing = {"l1": 0.0, "squared": 0.0, "cosine": 0.0, "structure": 0.0}
        one = gradient_of(tmp_path / "one", **(nothing | {name: 1.0}))
        both = gradient_of(tmp_path / "both", **(nothing | {name: 2.0}))
        assert one.abs().max() > 0
        torch.testing.assert_close(both, 2 * one, rtol=1e-4, atol=1e-8)


class TestWhatIsKept:
    @pytest.mark.parametrize("bands", [("nir",), ("red", "green", "nir")])
    def test_the_table_is_that_of_the_colours_that_are_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bands: tuple[str, ...]
    ) -> None:
        monkeypatch.setattr(loop, "fit_table", partial(fit_table, patches=40))

        def seen(scene: TrainingScene) -> TrainingScene:
            measured = scene.colours[: len(bands) - 1] * scene.valid
            return replace(scene, inputs=np.concatenate((measured, scene.inputs)))

        config = replace(CONFIG, bands=bands, haze=0.1)
        trainer = Trainer(config, [seen(scene) for scene in TRAINING], None, tmp_path)
        trainer.start()
        shape = trainer.network.config
        made = range(3)[len(bands) - 1 :]
        measured = trainer.sampler.unjittered()
        wanted = fit_table(measured, shape.knots, shape.table_max, colours=made, patches=40)
        np.testing.assert_array_equal(trainer.network.table.values.numpy(), wanted)

    def test_weights_with_a_hint_and_without_one_count_alike(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer = Trainer(CONFIG, TRAINING, VALIDATION, tmp_path, spec=spec_of(CONFIG))
        trainer.start()
        written = (tmp_path / BEST).read_bytes()
        said = {False: 0.9}
        monkeypatch.setattr(
            trainer, "score", lambda *, hinted=False: ValidationScore(5, 0.1, said[hinted])
        )
        for relative, better in ((1.3, False), (0.3, True)):
            trainer.best, said[True] = 1.0, relative
            trainer.average.head.bias.data += 0.1
            assert trainer._validate() is better
            last = log_of(tmp_path)[-1]
            assert last["judged"] == pytest.approx((0.9 + relative) / 2)
            assert ((tmp_path / BEST).read_bytes() != written) is better

    def test_the_best_weights_stay_the_best_after_a_power_cut(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores = {0: 1.0, 10: 0.2, 20: 0.5, 30: 0.4}
        monkeypatch.setattr(
            Trainer, "score", lambda self, hinted=False: ValidationScore(5, 0.1, scores[self.step])
        )
        with pytest.raises(PowerCutError):
            trained(tmp_path, power_cut_at=10)
        assert trained(tmp_path).best == 0.2
        told = [event for event in log_of(tmp_path) if event["event"] == "validation"]
        assert {event["step"]: event["best"] for event in told} == {
            0: True, 10: True, 20: False, 30: False,
        }  # fmt: skip

    def test_without_validation_the_last_weights_are_kept(self, tmp_path: Path) -> None:
        config = replace(CONFIG, steps=5)
        trainer = Trainer(config, TRAINING, None, tmp_path, spec=spec_of(config))
        trainer.start()
        trainer.run()
        assert not (tmp_path / BEST).exists()
        kept = load_generator(read_model(tmp_path / LAST)).state_dict()
        for name, value in trainer.average.state_dict().items():
            assert torch.equal(kept[name], value), name
        assert not torch.equal(kept["stem.weight"], trainer.network.stem.weight)

    def test_a_training_that_explodes_without_validation_says_so(self, tmp_path: Path) -> None:
        config = replace(CONFIG, learning_rate=1e30, steps=20)
        trainer = Trainer(config, TRAINING, None, tmp_path, spec=spec_of(config))
        trainer.start()
        with pytest.raises(TrainingError, match=r"the loss is .* lower learning_rate"):
            trainer.run()
        assert not (tmp_path / LAST).exists()
