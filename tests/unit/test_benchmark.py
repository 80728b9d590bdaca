"""The paper's experiment: who sees what, how it is scored, and that a run can be repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import write_raster
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.benchmark.contestants import check
from nirgeo.benchmark.protocol import (
    FOLDS,
    LEAKY_SCORED,
    Protocol,
    category,
    fold_of,
    image_split,
    leaky_split,
    read_images,
)
from nirgeo.benchmark.runs import Run, known, read_results, set_of, summary
from nirgeo.benchmark.scores import by_category, linear_light, score
from nirgeo.cli.main import main
from nirgeo.errors import EvaluationError
from nirgeo.training.data import FloatArray, TrainingScene
from nirgeo.training.loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def photograph(name: str, height: int = 128, width: int = 192) -> TrainingScene:
    random = np.random.default_rng(list(name.encode()))
    nir = random.random((1, height, width)).astype(np.float32)
    colours = random.random((3, height, width)).astype(np.float32)
    return TrainingScene(name, name, nir, colours, np.ones((height, width), dtype=np.bool_))


def write_photographs(folder: Path, names: Sequence[str]) -> Path:
    for k, name in enumerate(names):
        random = np.random.default_rng(k)
        nir = np.kron(random.integers(20, 230, (8, 12)), np.ones((16, 16)))
        bands = np.stack([nir * 0.9, nir * 0.7 + 20, nir * 0.5, nir]).astype(np.uint8)
        write_raster(
            folder / f"{name}.tif",
            bands,
            crs=None,
            transform=None,
            descriptions=["red", "green", "blue", "nir"],
        )
    return folder


NAMES = [f"urban_{k:04d}" for k in range(7)] + [f"water_{k:04d}" for k in range(3)]
names = st.lists(
    st.builds(
        lambda kind, number: f"{kind}_{number:04d}",
        st.sampled_from(["urban", "oldbuilding", "water"]),
        st.integers(0, 60),
    ),
    min_size=1,
    max_size=60,
    unique=True,
)


class TestFolds:
    @given(names)
    def test_folds_of_a_category_are_of_equal_size(self, found: list[str]) -> None:
        folds = fold_of(found)
        assert set(folds) == set(found)
        for kind in {category(name) for name in found}:
            sizes = np.bincount([f for n, f in folds.items() if category(n) == kind], minlength=5)
            assert sizes.max() - sizes.min() <= 1

    @given(names, st.randoms())
    def test_other_categories_and_order_do_not_matter(self, found: list[str], random: Any) -> None:
        shuffled = list(found)
        random.shuffle(shuffled)
        urban = [name for name in shuffled if category(name) == "urban"]
        folds = fold_of(found)
        assert fold_of(urban) == {name: folds[name] for name in urban}

    def test_every_image_is_scored_once_and_never_where_it_was_learnt_from(self) -> None:
        images = [photograph(name, 64, 64) for name in NAMES]
        scored: list[str] = []
        for fold in range(FOLDS):
            split = image_split(images, fold)
            here = {scene.place for scene in split.scored}
            assert not here & {scene.place for scene in split.training}
            assert len(split.scored) + len(split.training) == len(images)
            scored += here
        assert sorted(scored) == sorted(NAMES)

    def test_learning_from_fewer_images(self) -> None:
        images = [photograph(name, 64, 64) for name in NAMES]
        some = [{s.name for s in image_split(images, 2, count).training} for count in (1, 3, 5)]
        assert [len(part) for part in some] == [1, 3, 5]
        assert some[0] < some[1] < some[2]
        assert image_split(images, 2, 3).scored == image_split(images, 2).scored
        with pytest.raises(EvaluationError, match="--learn-from 20: the other folds hold 9"):
            image_split(images, 2, 20)

    @pytest.mark.parametrize("fold", [-1, 5])
    def test_no_such_fold(self, fold: int) -> None:
        with pytest.raises(EvaluationError, match="numbered 0 to 4"):
            image_split([photograph("a_0", 64, 64)], fold)


class TestLeaky:
    IMAGES = tuple(photograph(f"urban_{k}") for k in range(6))

    def test_the_share_and_density_of_the_paper(self) -> None:
        split = leaky_split(self.IMAGES, 0)
        total = len(split.training) + len(split.scored)
        assert total == len(self.IMAGES) * round(8.3 * 6)
        assert len(split.scored) / total == pytest.approx(LEAKY_SCORED, abs=0.06)

    def test_it_does_leak(self) -> None:
        """Nearly every patch that is scored shares pixels with one that was learnt from."""
        split = leaky_split(self.IMAGES, 0)
        corners: dict[str, list[tuple[int, int]]] = {}
        for patch in split.training:
            _, _, row, col = patch.name.split("_")
            corners.setdefault(patch.place, []).append((int(row), int(col)))
        overlapping = 0
        for patch in split.scored:
            _, _, row, col = patch.name.split("_")
            near = np.abs(np.array(corners[patch.place]) - (int(row), int(col))).max(axis=1)
            overlapping += bool((near < 64).any())
        assert overlapping > 0.95 * len(split.scored)

    def test_patches_are_windows_of_their_image(self) -> None:
        image = {scene.name: scene for scene in self.IMAGES}
        for patch in leaky_split(self.IMAGES, 1).scored[:10]:
            _, _, row, col = patch.name.split("_")
            window = (slice(int(row), int(row) + 64), slice(int(col), int(col) + 64))
            assert patch.shape == (64, 64)
            np.testing.assert_array_equal(
                patch.colours, image[patch.place].colours[(slice(None), *window)]
            )

    def test_a_seed_is_a_split(self) -> None:
        one, again, other = (leaky_split(self.IMAGES, seed) for seed in (3, 3, 4))
        assert [p.name for p in one.scored] == [p.name for p in again.scored]
        assert [p.name for p in one.scored] != [p.name for p in other.scored]


class TestScores:
    def test_the_truth_has_no_error(self) -> None:
        scene = photograph("a_0", 64, 64)
        perfect = score([scene], lambda s: s.colours)
        assert (perfect.angular, perfect.linear_angular, perfect.rmse) == (0, 0, 0)

    def test_known_angles(self) -> None:
        """Red against grey: arccos(1/√3) whatever the space; a wrong grey against grey: none."""
        valid = np.ones((64, 64), dtype=np.bool_)
        grey = np.full((3, 64, 64), 0.5, dtype=np.float32)
        red = np.zeros_like(grey)
        red[0] = 0.5
        half = np.where(np.arange(64) < 32, red, grey)
        scenes = [
            TrainingScene("a_0", "a_0", grey[:1], half, valid),
            TrainingScene("b_0", "b_0", grey[:1], grey, valid),
        ]
        found = score(scenes, lambda s: grey * np.float32(0.5))
        angle = np.degrees(np.arccos(1 / np.sqrt(3)))
        assert found.angular == pytest.approx(angle / 4)
        assert found.sd == pytest.approx(angle * np.sqrt(1 / 4 * 3 / 4))
        assert found.linear_angular == pytest.approx(angle / 4)
        assert found.images == pytest.approx({"a_0": angle / 2, "b_0": 0})
        assert by_category(found.images) == pytest.approx({"a": angle / 2, "b": 0})

    def test_black_has_no_direction_and_is_counted(self) -> None:
        scene = photograph("a_0", 64, 64)

        def predict(_: TrainingScene) -> FloatArray:
            made = scene.colours.copy()
            made[:, :16] = 0
            return made

        found = score([scene], predict)
        assert found.undefined == pytest.approx(0.25, abs=0.001)
        assert found.angular == 0
        assert found.pixels == 64 * 64

    def test_linear_light_against_the_standard(self) -> None:
        values = np.array([0, 0.04045, 0.5, 1])
        np.testing.assert_allclose(
            linear_light(values), [0, 0.04045 / 12.92, 0.21404114, 1], rtol=1e-6
        )


def record(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "contestant": "x",
        "protocol": "image",
        "fold": 0,
        "seed": 0,
        "categories": ["urban"],
        "angular": 4.0,
        "sd": 1.0,
        "linear_angular": 8.0,
        "linear_sd": 2.0,
        "rmse": 0.1,
        "undefined": 0.0,
        "pixels": 100,
        "images": {"urban_0": 4.0},
        "linear_images": {"urban_0": 8.0},
        "spent_minutes": 1.0,
        "steps": 10,
    }
    return facts | changes


def test_records_of_other_images_are_of_another_run() -> None:
    images = [photograph(f"urban_{k}") for k in range(6)]
    run = Run("x", Protocol.IMAGE, 0, 0, ("urban",), images=set_of(images))
    mine = record(image_set=set_of(images))
    assert known(run, [record(), record(image_set=set_of(images[:5])), mine]) is mine
    assert known(run, [record(image_set=set_of(images[:5]))]) is None


@pytest.mark.parametrize("preset", ["satellite-nir", "aerial-rgn"])
def test_presets_for_other_data_are_refused(preset: str) -> None:
    with pytest.raises(EvaluationError, match="this is near infrared in counts"):
        check(preset)


class TestSummary:
    def test_folds_are_pooled_over_pixels(self) -> None:
        """As if all pixels had been scored at once: 100 of 4 ± 1 and 300 of 8 ± 0."""
        (row,) = summary([record(), record(fold=1, angular=8.0, sd=0.0, pixels=300)])
        values = np.concatenate([np.repeat([3.0, 5.0], 50), np.full(300, 8.0)])
        assert row["angular"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std())
        assert row["spread"] is None

    def test_seeds_spread(self) -> None:
        (row,) = summary([record(), record(seed=1, angular=6.0, images={"urban_0": 6.0})])
        assert row["spread"] == pytest.approx(2**0.5)
        assert row["images"] == {"urban_0": 5.0}

    def test_protocols_and_categories_are_never_mixed(self) -> None:
        rows = summary([record(), record(protocol="leaky"), record(categories=[])])
        kinds = [(row["categories"], row["protocol"]) for row in rows]
        assert sorted(kinds) == [("all", "image"), ("urban", "image"), ("urban", "leaky")]


class TestCommand:
    ARGUMENTS = ("--preset", "baseline/grey", "--preset", "autoencoder", "--steps", "2")

    def run(self, *arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["benchmark", "epfl", *arguments])
        return done.exit_code, done.output

    def test_a_run_is_recorded_once(self, tmp_path: Path) -> None:
        data = write_photographs(tmp_path / "data", NAMES[:5])
        out = tmp_path / "out"
        command = (str(data), "--out", str(out), "--fold", "1", *self.ARGUMENTS)
        code, output = self.run(*command)
        assert code == 0, output
        records = read_results(out / "results.jsonl")
        assert [r["contestant"] for r in records] == ["baseline/grey", "autoencoder"]
        grey, trained = records
        assert (grey["steps"], trained["steps"], trained["patches_seen"]) == (0, 2, 32)
        assert grey["undefined"] == 0
        assert "autoencoder" in output
        (weights,) = out.glob("urban-image-fold1-autoencoder-seed0-of-*/last.safetensors")
        assert Path(f"{weights.parent}.png").read_bytes()[:4] == b"\x89PNG"
        code, output = self.run(*command, "--json", "--quiet")
        assert code == 0
        assert len(read_results(out / "results.jsonl")) == 2
        assert len((out / "results.jsonl").read_text().splitlines()) == 2
        assert {row["contestant"] for row in json.loads(output)} == {"baseline/grey", "autoencoder"}

    def test_a_run_can_be_repeated(self, tmp_path: Path) -> None:
        data = write_photographs(tmp_path / "data", NAMES[:5])
        figures = []
        for name in ("one", "two"):
            out = tmp_path / name
            code, output = self.run(str(data), "--out", str(out), "--fold", "0", *self.ARGUMENTS)
            assert code == 0, output
            figures.append(
                [(r["angular"], r["images"]) for r in read_results(out / "results.jsonl")]
            )
        assert figures[0] == figures[1]

    def test_the_leaky_protocol_says_so(self, tmp_path: Path) -> None:
        data = write_photographs(tmp_path / "data", NAMES[:5])
        arguments = ("--protocol", "leaky", "--preset", "baseline/mean-colour")
        code, output = self.run(str(data), "--out", str(tmp_path / "out"), *arguments)
        assert code == 0, output
        assert "learnt from patches of the scored images" in output
        assert "the paper" in output

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--category", "desert"), "0 images of desert.*categories there: urban"),
            (("--fold", "7"), "folds are numbered 0 to 4"),
            (("--preset", "baseline/linear-blue"), "no baseline 'baseline/linear-blue' for near"),
            (("--preset", "paper1999"), "no preset 'paper1999'"),
        ],
    )
    def test_refused_before_anything_is_run(
        self, arguments: tuple[str, ...], message: str, tmp_path: Path
    ) -> None:
        data = write_photographs(tmp_path / "data", NAMES[:5])
        first = ("--preset", "baseline/grey") if "--preset" in arguments else ()
        code, output = self.run(str(data), "--out", str(tmp_path / "out"), *first, *arguments)
        assert code == 1
        assert re.search(message, output)
        assert not (tmp_path / "out" / "results.jsonl").exists()

    def test_a_fold_without_images_is_refused_before_anything_is_run(self, tmp_path: Path) -> None:
        kinds = ("country", "field")
        mixed = [f"{kinds[0]}_{k:04d}" for k in range(3)] + [
            f"{kinds[1]}_{k:04d}" for k in range(2)
        ]
        (empty, *_) = set(range(FOLDS)) - set(fold_of(mixed).values())
        data = write_photographs(tmp_path / "data", mixed)
        chosen = [word for kind in kinds for word in ("--category", kind)]
        out = tmp_path / "out"
        command = (str(data), "--out", str(out), "--preset", "baseline/grey", *chosen)
        code, output = self.run(*command)
        assert code == 1
        assert f"--fold {empty}: of 5 images (country, field) none with a valid pixel" in output
        assert not (out / "results.jsonl").exists()
        others = [word for k in set(fold_of(mixed).values()) for word in ("--fold", str(k))]
        code, output = self.run(*command, *others)
        assert code == 0, output

    def test_images_smaller_than_a_patch_can_not_leak(self, tmp_path: Path) -> None:
        for k in range(5):
            pixels = np.full((4, 60, 60), 99, dtype=np.uint8)
            names = ["red", "green", "blue", "nir"]
            write_raster(tmp_path / f"urban_{k:04d}.tif", pixels, descriptions=names)
        code, output = self.run(
            str(tmp_path), "--out", str(tmp_path / "out"), "--protocol", "leaky"
        )
        assert code == 1
        assert "none with a valid pixel is there to learn from" in output

    def test_an_earlier_runs_weights_stay_until_others_are_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = write_photographs(tmp_path / "data", NAMES[:5])
        out = tmp_path / "out"
        command = (str(data), "--out", str(out), "--fold", "1", "--preset", "autoencoder")
        assert self.run(*command, "--steps", "2")[0] == 0
        (weights,) = out.glob("urban-image-fold1-autoencoder-seed0-of-*/last.safetensors")
        first = weights.read_bytes()
        code, output = self.run(*command, "--steps", "3")
        assert code == 0
        assert "(2 steps, " in output
        assert "of an earlier run; --again repeats it" in output
        with monkeypatch.context() as stopped:

            def stop(*_: object) -> None:
                raise KeyboardInterrupt

            stopped.setattr(Trainer, "run", stop)
            assert self.run(*command, "--steps", "3", "--again")[0] != 0
        assert weights.read_bytes() == first
        assert self.run(*command, "--steps", "3", "--again")[0] == 0
        assert weights.read_bytes() != first
        assert read_results(out / "results.jsonl")[0]["steps"] == 3
        assert not list(out.glob("*.part"))

    def test_damaged_results(self, tmp_path: Path) -> None:
        (tmp_path / "results.jsonl").write_text('{"contestant": "x"}\n')
        with pytest.raises(EvaluationError, match="can't be read as results"):
            read_results(tmp_path / "results.jsonl")

    def test_what_is_known(self) -> None:
        run = Run("x", Protocol.IMAGE, 0, 0, ("urban",), minutes=3)
        assert known(run, [record(fold=1), record()]) == record()
        others = [record(fold=1), record(protocol="leaky"), record(seed=2), record(learn_from=4)]
        assert known(run, others) is None


def test_images_are_read_by_category(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path, NAMES)
    assert [s.name for s in read_images(folder, ["urban"])] == NAMES[:7]
    assert {s.place for s in read_images(folder)} == set(NAMES)
