"""A network that learns what another one makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_random_model
from test_training_loop import CONFIG, TRAINING, VALIDATION, state

from nirgeo.errors import TrainingError
from nirgeo.modelfile import read_model
from nirgeo.training.loop import BEST, Trainer
from nirgeo.training.networks import model_spec
from nirgeo.training.teacher import Teacher

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
PUPIL = replace(CONFIG, adversarial=0.0, steps=60, dropout=0.0, ema=0.9, learning_rate=1e-2)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_random_model(tmp_path, width=8, depth=1)


def distance(trainer: Trainer, teacher: Teacher) -> float:
    """Mean difference between what the two make of the first batches."""
    found = []
    for step in range(4):
        inputs, _, valid, hint = (torch.from_numpy(a) for a in trainer.sampler.batch(step))
        with torch.no_grad():
            pupil = trainer.average(inputs, valid, hint)
        found.append(float((pupil - teacher(inputs, valid, hint)).abs().mean()))
    return float(np.mean(found))


def test_the_pupil_comes_closer_to_its_teacher_than_the_table_is(
    tmp_path: Path, teacher: Path
) -> None:
    master = Teacher([teacher], PUPIL, CPU)
    trainer = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "run", teacher=master)
    trainer.start()
    before = distance(trainer, master)
    trainer.run()
    assert before > 0.01
    assert distance(trainer, master) < 0.7 * before


def test_a_new_table_is_none_of_the_teachers(tmp_path: Path, teacher: Path) -> None:
    trainer = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "alone", spec=None)
    trainer.start()
    master = Teacher([teacher], PUPIL, CPU)
    pupil = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "run", teacher=master)
    pupil.start(new_table=True)
    for name in ("table.values", "input_range"):
        own = state(pupil)[f"network/{name}"]
        np.testing.assert_array_equal(own, state(trainer)[f"network/{name}"])
        assert (own != master.networks[0].state_dict()[name].numpy()).any()


def test_the_pupil_starts_from_its_teachers_table(tmp_path: Path, teacher: Path) -> None:
    master = Teacher([teacher], PUPIL, CPU)
    trainer = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "run", teacher=master)
    trainer.start()
    lent = master.networks[0].state_dict()
    for name in ("table.values", "input_range"):
        np.testing.assert_array_equal(state(trainer)[f"network/{name}"], lent[name].numpy())
    # A table of other knots is the pupil's own.
    finer = replace(PUPIL, knots=17)
    other = Trainer(finer, TRAINING, VALIDATION, tmp_path / "other", teacher=master)
    other.start()
    assert state(other)["network/table.values"].shape == (1, 17, 3)


def test_of_several_teachers_the_mean_is_learnt(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        paths.append(write_random_model(tmp_path / str(seed), width=8, depth=seed, seed=seed))
    both = Teacher(paths, PUPIL, CPU)
    one, other = (Teacher([path], PUPIL, CPU) for path in paths)
    trainer = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "run", teacher=both)
    inputs, _, valid, hint = (torch.from_numpy(a) for a in trainer.sampler.batch(0))
    made = both(inputs, valid, hint)
    assert not torch.allclose(one(inputs, valid, hint), made, atol=1e-3)
    expected = (one(inputs, valid, hint) + other(inputs, valid, hint)) / 2
    torch.testing.assert_close(made, expected)
    assert both.identity == f"{one.identity}, {other.identity}"
    trainer.start()
    assert torch.equal(trainer.network.table.values, both.networks[0].table.values)


def test_a_teacher_never_learns(tmp_path: Path, teacher: Path) -> None:
    master = Teacher([teacher], PUPIL, CPU)
    before = {k: v.numpy().copy() for k, v in master.networks[0].state_dict().items()}
    trainer = Trainer(PUPIL, TRAINING, VALIDATION, tmp_path / "run", teacher=master)
    trainer.start()
    trainer.run()
    for name, value in master.networks[0].state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], err_msg=name)


@pytest.mark.parametrize("other", [{"bands": ("red", "green", "nir")}, {"quantity": "counts"}])
def test_a_teacher_of_something_else_is_refused(tmp_path: Path, other: dict) -> None:
    path = write_random_model(tmp_path, **other)
    with pytest.raises(TrainingError, match="choose another model or preset"):
        Teacher([path], PUPIL, CPU)


def test_a_model_says_who_taught_it_and_a_run_goes_on_with_no_other(
    tmp_path: Path, teacher: Path
) -> None:
    master = Teacher([teacher], PUPIL, CPU)
    config = replace(PUPIL, teacher=master.identity, steps=10)
    spec = model_spec(config, "pupil", 2)
    trainer = Trainer(config, TRAINING, VALIDATION, tmp_path / "run", spec=spec, teacher=master)
    trainer.start()
    trainer.run()
    card = read_model(tmp_path / "run" / BEST).spec.training
    assert card["config"]["teacher"] == f"test-model@1 {read_model(teacher).sha256}"
    without = Trainer(replace(config, teacher=""), TRAINING, VALIDATION, tmp_path / "run")
    with pytest.raises(TrainingError, match="another configuration"):
        without.start()


def test_a_teacher_with_other_cells_is_refused(teacher: Path) -> None:
    with pytest.raises(TrainingError, match=r"cells of 4 px .* cells of 8"):
        Teacher([teacher], replace(PUPIL, shuffle=8), CPU)
