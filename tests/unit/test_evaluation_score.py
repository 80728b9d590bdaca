"""Places come before scenes and pixels; models run as the product runs them; nothing leaks."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_scenes import ground, write_index, write_scene
from helpers import random_model

import nirgeo
from nirgeo.baselines import BASELINES, Context
from nirgeo.baselines import model as baseline_model
from nirgeo.baselines.storage import UNFITTED
from nirgeo.errors import EvaluationError
from nirgeo.evaluation import fitting, landcover, predict, score
from nirgeo.evaluation.predict import (
    Kind,
    ModelPredictor,
    Prediction,
    baseline_name,
    load_predictors,
    predictor_of,
    with_unique_labels,
)
from nirgeo.evaluation.scenes import EvaluationScene, find_scenes, read_scene, render
from nirgeo.evaluation.text import rank, render_text
from nirgeo.location_prior import ToneMap, hint_at
from nirgeo.place_statistics import place_means
from nirgeo.radiometry import Quantity, to_working
from nirgeo.scene_lists import SceneEntry


@dataclass(frozen=True)
class Brighter:
    """The truth with red raised: an error whose size each scene's name decides."""

    label: str = "brighter"
    kind: Kind = Kind.MODEL
    quantity: Quantity = Quantity.REFLECTANCE
    bands: tuple[str, ...] = ("nir",)

    def predict(self, scene: EvaluationScene) -> Prediction:
        factor = np.float32(1 + int(scene.name.split("-")[-1]) / 10)
        values = scene.truth * np.array([factor, 1, 1], dtype=np.float32)[:, None, None]
        return Prediction(values, render(values, self.quantity))


@pytest.fixture
def three_scenes(tmp_path: Path) -> list[SceneEntry]:
    """Two scenes of one place, one large, and a third elsewhere."""
    sizes = {"pair-1": (120, 130), "pair-9": (64, 64), "alone-4": (70, 66)}
    for name, (height, width) in sizes.items():
        write_scene(tmp_path / "data" / f"{name}.tif", ground(height, width, seed=len(name)))
    index = write_index(
        tmp_path / "index.csv",
        {f"data/{name}.tif": name.split("-")[0] for name in sizes},
    )
    return find_scenes([tmp_path / "data"], index, ["boa"])


def test_the_headline_is_the_mean_over_places(three_scenes: list[SceneEntry]) -> None:
    (task,) = score.evaluate(three_scenes, [Brighter()]).tasks
    (result,) = task.predictors
    by_scene = {s.scene: s.figures["angular"] for s in result.scenes}
    pair = (by_scene["pair-1"] + by_scene["pair-9"]) / 2
    expected = (pair + by_scene["alone-4"]) / 2
    assert result.places() == pytest.approx({"alone": by_scene["alone-4"], "pair": pair})
    assert result.over_places().value == pytest.approx(expected)
    assert result.over_places().places == 2
    assert expected != pytest.approx(np.mean(list(by_scene.values())), rel=1e-3)
    assert result.pooled.figures()["angular"] != pytest.approx(expected, rel=1e-3)
    assert result.pooled.pixels == sum(s.pixels for s in result.scenes)


def test_one_place_gives_no_interval(three_scenes: list[SceneEntry]) -> None:
    pair = [entry for entry in three_scenes if entry.place == "pair"]
    result = score.evaluate(pair, [Brighter()])
    assert np.isnan(result.tasks[0].predictors[0].over_places().low)
    text = render_text(result)
    assert "one place, so there is no interval" in " ".join(text.split())
    assert "nan" not in text
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert data["tasks"][0]["models"][0]["mean_over_places"]["angular"]["low"] is None


def test_equal_work_gives_equal_figures(three_scenes: list[SceneEntry]) -> None:
    predictors = [Brighter(), predictor_of(BASELINES["grey"].fit([], Quantity.REFLECTANCE))]
    first, second = (score.evaluate(three_scenes, predictors) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert render_text(first) == render_text(second)


@pytest.mark.parametrize("quantity", Quantity)
def test_a_model_is_scored_on_the_pixels_that_the_product_makes(
    tmp_path: Path, quantity: Quantity
) -> None:
    model = random_model(tmp_path, quantity=quantity)
    values = ground()
    if quantity is Quantity.COUNTS:
        values = np.rint(values * 255).astype(np.uint8)
    else:
        values[:, 10:20, 30:40] = 0
    path = write_scene(tmp_path / "scene.tif", values)
    scene = read_scene(SceneEntry(path, "here"))
    prediction = ModelPredictor("m", model).predict(scene)
    picture = nirgeo.colorize(nirgeo.open_scene(path), model).compute()
    np.testing.assert_array_equal(prediction.picture, picture.values)
    if quantity is Quantity.REFLECTANCE:
        exact = nirgeo.colorize(nirgeo.open_scene(path), model, output="reflectance").compute()
        np.testing.assert_array_equal(prediction.values, exact.values)
    else:
        np.testing.assert_array_equal(prediction.values, picture.values / np.float32(255))


def test_truth_is_what_was_measured(tmp_path: Path) -> None:
    values = ground()
    values[:, 3, 4] = 0
    values[2, 6, 7] = 0  # one missing colour makes the pixel invalid
    scene = read_scene(SceneEntry(write_scene(tmp_path / "s.tif", values), "here"))
    assert np.argwhere(~scene.valid).tolist() == [[3, 4], [6, 7]]
    expected = np.where(scene.valid, np.rint(values[:3] * 1e4) / 1e4, 0)
    np.testing.assert_allclose(scene.truth, expected, atol=1e-7)


def test_an_oracle_alone_sees_the_truth(three_scenes: list[SceneEntry], monkeypatch) -> None:
    seen = {}

    def spy(quantity, truth=None, survey=None):
        seen[current] = truth is not None
        return Context(quantity, truth, survey)

    for module in (predict, baseline_model):
        monkeypatch.setattr(module, "Context", spy)
    scene = read_scene(three_scenes[0])
    for name in sorted(UNFITTED):
        current = name
        predictor_of(BASELINES[name].fit([], Quantity.REFLECTANCE)).predict(scene)
    assert seen == {name: name.startswith("oracle") for name in UNFITTED}


def test_oracles_and_helped_baselines_come_last(three_scenes: list[SceneEntry]) -> None:
    names = ["oracle-colour", "terralook", "grey"]
    made = [predictor_of(BASELINES[n].fit([], Quantity.REFLECTANCE)) for n in names]
    (task,) = score.evaluate(three_scenes, [*made, Brighter()]).tasks
    ordered = [s.label for s in rank(task.predictors)]
    assert ordered == ["brighter", "baseline/grey", "baseline/terralook", "baseline/oracle-colour"]


def test_scenes_of_another_quantity_are_left_out_and_said(
    tmp_path: Path, three_scenes: list[SceneEntry]
) -> None:
    counts = write_scene(tmp_path / "counts.tif", np.full((4, 64, 64), 90, dtype=np.uint8))
    warnings: list[str] = []
    entries = [*three_scenes, SceneEntry(counts, "elsewhere")]
    result = score.evaluate(entries, [Brighter()], warn=warnings.append)
    assert len(result.tasks[0].scenes) == 3
    assert "counts.tif: holds counts" in result.skipped[0]
    assert warnings == [f"left out {result.skipped[0]}"]
    with pytest.raises(EvaluationError, match="eats reflectance, and none of the 1 scenes"):
        score.evaluate(entries[3:], [Brighter()])


def test_places_that_were_learnt_from_are_refused(three_scenes: list[SceneEntry]) -> None:
    fitting.check_apart(three_scenes[:1], three_scenes[1:])
    with pytest.raises(EvaluationError, match=r"1 places are both.*\(pair\).*--leaky"):
        fitting.check_apart(three_scenes, [e for e in three_scenes if e.place == "pair"])
    renamed = [SceneEntry(three_scenes[0].path, "another name")]
    with pytest.raises(EvaluationError, match="another name"):
        fitting.check_apart(three_scenes, renamed)


def test_leaky_figures_say_so(three_scenes: list[SceneEntry]) -> None:
    result = score.evaluate(three_scenes, [Brighter()], leaky=True)
    assert "LEAKY" in render_text(result)
    assert result.to_json()["tasks"][0]["split"] == "leaky"
    assert score.evaluate(three_scenes, [Brighter()]).to_json()["tasks"][0]["split"] == "places"


def test_fitted_baselines_beat_grey_and_never_the_oracle(
    tmp_path: Path, three_scenes: list[SceneEntry]
) -> None:
    for seed in range(3):
        write_scene(tmp_path / "fit" / f"f{seed}.tif", ground(96, 96, seed=40 + seed))
    entries = find_scenes([tmp_path / "fit"])
    names = ["grey", "mean-colour", "table-direction", "linear-blue", "oracle-direction"]
    made = [predictor_of(b) for b in fitting.fit_baselines(names, entries, Quantity.REFLECTANCE)]
    (task,) = score.evaluate(three_scenes, made).tasks
    angle = {s.label.split("/")[1]: s.over_places().value for s in task.predictors}
    assert angle["oracle-direction"] < angle["table-direction"] < angle["grey"]
    assert angle["linear-blue"] < angle["table-direction"]
    table = task.best_table()
    assert table is not None
    assert table.label == "baseline/table-direction"
    assert task.relative(task.predictors[0], table).value == pytest.approx(
        angle["grey"] / angle["table-direction"]
    )


def test_a_baseline_that_learns_needs_scenes() -> None:
    with pytest.raises(EvaluationError, match="--fit"):
        list(fitting.fit_baselines(["cubic"], [], Quantity.REFLECTANCE))
    with pytest.raises(EvaluationError, match="no baseline 'nothing'"):
        baseline_name("baseline/nothing")
    assert baseline_name("satellite-nir") is None


def test_labels_are_unique(tmp_path: Path) -> None:
    files = [str(random_model(tmp_path, seed=seed).path) for seed in (1, 2)]
    labels = [p.label for p in with_unique_labels(load_predictors([*files, files[0]]))]
    assert len(labels) == len(set(labels)) == 2
    assert all(label.startswith("test-model@1 (") for label in labels)


def test_limit_is_spread_over_the_list(tmp_path: Path) -> None:
    for name in "abcdefg":
        write_scene(tmp_path / f"{name}.tif", ground(16, 16))
    picked = [e.path.stem for e in find_scenes([tmp_path], limit=3)]
    assert picked == ["a", "d", "g"]
    assert len(find_scenes([tmp_path, tmp_path], limit=50)) == 7
    for wrong in (0, -1):
        with pytest.raises(EvaluationError, match="--limit"):
            find_scenes([tmp_path], limit=wrong)
    with pytest.raises(EvaluationError, match="not a folder"):
        find_scenes([tmp_path / "none"])


def test_missing_scikit_image_is_one_line_with_the_remedy(monkeypatch) -> None:
    monkeypatch.setattr(score, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=r"scikit-image.*pip install 'nirgeo\[evaluate\]'"):
        score.check_libraries()


def test_place_means_are_those_of_the_statistics(three_scenes: list[SceneEntry]) -> None:
    (result,) = score.evaluate(three_scenes, [Brighter()]).tasks[0].predictors
    for measure in score.MEASURES:
        pairs = [(s.place, s.figures[measure]) for s in result.scenes]
        assert result.places(measure) == place_means(pairs)


def test_baselines_are_fitted_to_scenes_as_they_were_measured(tmp_path: Path) -> None:
    # Brighter and darker by chance, a table of one value could not be that value's colour.
    values = np.full((4, 96, 96), 0.1, dtype=np.float32)
    values[3] = 0.3
    write_scene(tmp_path / "fit" / "a.tif", values)
    (table,) = fitting.fit_baselines(
        ["table-colour"], find_scenes([tmp_path / "fit"]), Quantity.REFLECTANCE
    )
    told = table.predict(
        to_working(np.full((1, 8, 8), 0.3, np.float32), Quantity.REFLECTANCE),
        np.ones((8, 8), dtype=bool),
        Context(Quantity.REFLECTANCE),
    )
    np.testing.assert_allclose(told, np.sqrt(np.float32(0.1)), atol=1e-3)


@dataclass(frozen=True)
class Doubtful(Brighter):
    """Expects an error of two degrees everywhere."""

    error_quantile: float = 2.0

    def predict(self, scene: EvaluationScene) -> Prediction:
        expected = np.full(scene.shape, 2, dtype=np.float32)
        return replace(super().predict(scene), expected=expected)


def test_every_scene_of_a_place_counts(three_scenes: list[SceneEntry]) -> None:
    (task,) = score.evaluate(three_scenes, [Doubtful()]).tasks
    (result,) = task.predictors
    sizes = {"pair": 120 * 130 + 64 * 64, "alone": 70 * 66}
    for sums in (result.cover_sums, result.brightness_sums, result.expected_cover_sums):
        assert {place: int(found.pixels.sum()) for place, found in sums.items()} == sizes
    pixels = {place: int(sums.pixels.sum()) for place, sums in result.expectations.items()}
    assert pixels == sizes


def test_an_expectation_counts_where_there_is_an_angle(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene-1.tif", np.full((4, 20, 20), 0.2))
    measured = read_scene(SceneEntry(path, "here"))
    black = np.arange(20)[:, None] < 10
    scene = replace(
        measured, bands={role: np.where(black, 0, b) for role, b in measured.bands.items()}
    )
    result = score.PredictorScore("d", Kind.MODEL, ("nir",), {}, quantile=2.0)
    score._score_scene(scene, [Doubtful()], [result])
    (actual,), (said,) = result.cover_sums.values(), result.expected_cover_sums.values()
    assert actual.pixels.tolist() == said.pixels.tolist()
    assert said.pixels.sum() == 200


def test_without_the_prior_no_position_is_a_hint(tmp_path: Path) -> None:
    tones = {"offset": [0.1, -0.2], "matrix": [[1.2, 0.1], [-0.1, 0.9]], "error": [0.1, 0.15]}
    model = random_model(tmp_path, tones=tones)
    scene = read_scene(SceneEntry(write_scene(tmp_path / "s.tif"), "here"))
    scene = replace(scene, position=(11.0, 48.0))
    assert ModelPredictor("m", model, prior=False).hint(scene) is False
    assert ModelPredictor("m", model).hint(scene).nodes[2].max() > 0


def test_a_position_of_an_index_is_longitude_and_latitude(tmp_path: Path) -> None:
    tones = {"offset": [0.1, -0.2], "matrix": [[1.2, 0.1], [-0.1, 0.9]], "error": [0.1, 0.15]}
    model = random_model(tmp_path, tones=tones)
    scene = read_scene(SceneEntry(write_scene(tmp_path / "s.tif"), "here"))
    found = ModelPredictor("m", model).hint(replace(scene, position=(9.0, 48.0)))
    wanted = hint_at(9.0, 48.0, ToneMap.from_json(tones))
    assert wanted is not None
    np.testing.assert_array_equal(found.nodes, wanted.nodes)


def test_where_a_model_gives_nothing_nothing_is_scored(tmp_path: Path) -> None:
    values = np.rint(ground() * 255).astype(np.uint8)
    mask = np.ones(values.shape[1:], dtype=bool)
    mask[10:20, 30:40] = False
    scene = read_scene(SceneEntry(write_scene(tmp_path / "s.tif", values, mask=mask), "here"))
    model = random_model(tmp_path, quantity=Quantity.COUNTS)
    prediction = ModelPredictor("m", model).predict(scene)
    np.testing.assert_array_equal(np.isfinite(prediction.values), np.stack([mask] * 3))


def test_an_oracle_of_counts_is_as_bright_as_the_truth(tmp_path: Path) -> None:
    values = np.rint(ground() * 255).astype(np.uint8)
    scene = read_scene(SceneEntry(write_scene(tmp_path / "s.tif", values), "here"))
    for name in ("oracle-colour", "oracle-direction"):
        oracle = predictor_of(BASELINES[name].fit([], Quantity.COUNTS))
        prediction = oracle.predict(scene)
        np.testing.assert_allclose(
            prediction.values.mean(axis=(1, 2)), scene.truth.mean(axis=(1, 2)), rtol=0.2
        )
        np.testing.assert_array_equal(prediction.values, prediction.picture / np.float32(255))


def test_models_are_loaded_as_they_are_to_be_run(tmp_path: Path) -> None:
    path = str(random_model(tmp_path).path)
    for prior in (True, False):
        (found,) = load_predictors([path], prior=prior)
        assert isinstance(found, ModelPredictor)
        assert found.prior is prior


def test_with_a_reference_no_error_is_expected(tmp_path: Path) -> None:
    model = random_model(tmp_path)
    shape = dict(model.spec.generator) | {"expects_error": True}
    spec = replace(model.spec, generator=shape, uncertainty={"quantile": 2.5})
    doubtful = replace(model, spec=spec)
    assert ModelPredictor("m", doubtful).error_quantile == 2.5
    assert ModelPredictor("m", doubtful, reference="other.tif").error_quantile is None


def table_score(label: str, angle: float) -> score.PredictorScore:
    figures = dict.fromkeys(score.MEASURES, angle)
    scenes = [score.SceneScore("s", place, 9, figures) for place in "ab"]
    return score.PredictorScore(label, Kind.BASELINE, ("nir",), {}, scenes)


def test_a_network_must_beat_the_better_of_the_tables() -> None:
    scores = [
        table_score("baseline/table-colour@1", 6.0),
        table_score("baseline/table-direction@1", 5.0),
        table_score("baseline/linear-blue@1", 1.0),
    ]
    for order in (1, -1):
        task = score.TaskScore(Quantity.REFLECTANCE, scores[::order])
        best = task.best_table()
        assert best is not None
        assert best.label == "baseline/table-direction@1"


def test_expected_errors_of_a_kind_of_ground_are_not_its_actual_ones(
    three_scenes: list[SceneEntry],
) -> None:
    (task,) = score.evaluate(three_scenes, [Doubtful()]).tasks
    (result,) = task.predictors
    told = task.expectation(result)
    assert told is not None
    shown = [row for row in told["land_cover"] if row["places"]]
    assert shown
    actual = {error.name: error.angular for error in task.cover_errors(result)}
    for row in shown:
        assert row["expected"] == pytest.approx(2)
        assert row["actual"] == pytest.approx(actual[row["name"]])
        assert row["actual"] != pytest.approx(2, rel=1e-3)


def test_every_scene_is_asked_how_it_looks(
    three_scenes: list[SceneEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "answers", lambda name, *_: iter([name]))
    (result,) = score.evaluate(three_scenes, [Brighter()]).tasks[0].predictors
    assert sorted(result.looks) == sorted(entry.path.stem for entry in three_scenes)


def test_classes_of_brightness_are_those_of_brightness(three_scenes: list[SceneEntry]) -> None:
    (result,) = score.evaluate(three_scenes[:1], [Brighter()]).tasks[0].predictors
    scene = read_scene(three_scenes[0])
    bins = len(landcover.brightness_names(scene.quantity))
    (found,) = result.brightness_sums.values()
    classes = landcover.brightness(scene)
    wanted = np.bincount(classes[scene.valid & (classes != landcover.OUTSIDE)], minlength=bins)
    assert found.pixels.tolist() == wanted.tolist()


def test_models_of_two_quantities_are_scored_on_their_own_scenes(
    tmp_path: Path, three_scenes: list[SceneEntry]
) -> None:
    counts = np.rint(ground(64, 64) * 255).astype(np.uint8)
    path = write_scene(tmp_path / "counts-3.tif", counts)
    both = [Brighter(), Brighter("other", quantity=Quantity.COUNTS)]
    tasks = score.evaluate([*three_scenes, SceneEntry(path, "town")], both).tasks
    found = {task.quantity: [s.scene for s in task.predictors[0].scenes] for task in tasks}
    assert found == {
        Quantity.REFLECTANCE: [entry.path.stem for entry in three_scenes],
        Quantity.COUNTS: ["counts-3"],
    }


@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
def test_where_a_file_has_no_place_an_index_tells_it(tmp_path: Path, crs: str | None) -> None:
    path = write_scene(tmp_path / "s.tif", transform=None, crs=crs)
    assert read_scene(SceneEntry(path, "here", (9.0, 48.0))).position == (9.0, 48.0)
    placed = write_scene(tmp_path / "placed.tif")
    assert read_scene(SceneEntry(placed, "here", (9.0, 48.0))).position is None
