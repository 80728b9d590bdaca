"""Tools that change what the package ships change all of it, or nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import average_models
import make_baselines
import make_colour_prior
import make_int8
import pytest
import release_model
import write_results
from helpers import write_random_model
from PIL import Image
from safetensors.numpy import load_file
from together import written_together

from nirgeo.errors import EvaluationError, TrainingError
from nirgeo.modelfile import read_model, write_model
from nirgeo.radiometry import Quantity
from nirgeo.registry import shipped_models

SHIPPED = Path(release_model.__file__).parents[1] / "nirgeo" / "weights"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the networks that the package ships, for the tool to work on."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for file in SHIPPED.glob("*.*"):
        if file.is_file():
            shutil.copy(file, folder)
    monkeypatch.setattr(release_model, "WEIGHTS", folder)
    return folder


class TestWrittenTogether:
    def test_files_come_all_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        with written_together(tmp_path) as scratch:
            (scratch / "a").write_text("new")
            (scratch / "b").write_text("new")
            assert (tmp_path / "a").read_text() == "old"
            assert not (tmp_path / "b").exists()
        assert bytes_of(tmp_path) == {"a": b"new", "b": b"new"}

    def test_and_the_list_of_them_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moved: list[str] = []
        monkeypatch.setattr(Path, "replace", lambda self, _: moved.append(self.name))
        with written_together(tmp_path) as scratch:
            for name in ("a.json", "registry.json", "z.safetensors"):
                (scratch / name).touch()
        assert moved[-1] == "registry.json"
        assert sorted(moved) == ["a.json", "registry.json", "z.safetensors"]

    def test_or_none_of_them(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")

        def interrupted() -> None:
            with written_together(tmp_path) as scratch:
                (scratch / "a").write_text("new")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert bytes_of(tmp_path) == {"a": b"old"}


class TestRelease:
    def test_the_same_weights_again_change_nothing(self, weights: Path) -> None:
        before = bytes_of(weights)
        for model in shipped_models():
            release_model.release(weights / model.file, model.name, model.version)
        changed = {name for name, found in bytes_of(weights).items() if found != before[name]}
        # What 8 bits cost stands in the cards too; tools/make_int8.py --cards adds it.
        assert all(name.endswith(".md") for name in changed)
        assert bytes_of(weights).keys() == before.keys()

    def test_a_version_takes_the_place_of_the_one_before(self, weights: Path) -> None:
        (old,) = [m for m in shipped_models() if m.name == "satellite-rgn"]
        release_model.release(weights / old.file, old.name, old.version + 1)
        assert not list(weights.glob(f"satellite-rgn-{old.version}.*"))
        registry = json.loads((weights / "registry.json").read_text())
        (entry,) = [e for e in registry if e["name"] == "satellite-rgn"]
        made = read_model(weights / entry["file"])
        assert (made.sha256, made.spec.version) == (entry["sha256"], old.version + 1)
        assert entry["sha256"] in (weights / entry["file"]).with_suffix(".md").read_text()

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("satellite-nir", "says nothing of validation_table, .*; name the folder of the run"),
            ("aerial-nir", "makes red, green, blue from nir as reflectance; aerial-nir@7 makes .*"),
            ("satellite-rgn", "makes red, green, blue from nir as reflectance; .* makes blue from"),
            ("submarine-nir", "submarine-nir: FACTS says nothing of it"),
        ],
    )
    def test_what_is_refused_leaves_everything(
        self, weights: Path, tmp_path: Path, name: str, words: str
    ) -> None:
        own = write_random_model(tmp_path)
        before = bytes_of(weights)
        with pytest.raises(SystemExit, match=words):
            release_model.release(own, name, 9)
        assert bytes_of(weights) == before

    def test_what_fails_half_way_leaves_everything(
        self, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (old,) = [m for m in shipped_models() if m.name == "satellite-rgn"]
        before = bytes_of(weights)
        monkeypatch.setattr(release_model, "mlm_item", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            release_model.release(weights / old.file, old.name, old.version + 1)
        assert bytes_of(weights) == before


class TestAverage:
    @pytest.fixture
    def two(self, tmp_path: Path) -> tuple[Path, Path]:
        kinds = (
            {"licence": "MIT", "attribution": "data of A"},
            {
                "licence": "CC BY-NC 4.0",
                "attribution": "data of B",
            },
        )
        folders = tmp_path / "a", tmp_path / "b"
        for folder in folders:
            folder.mkdir()
        one, two = (
            write_random_model(folder, quantity=Quantity.COUNTS, **kind)  # type: ignore[arg-type]
            for folder, kind in zip(folders, kinds, strict=True)
        )
        return one, two

    def test_of_two_licences_is_refused(self, two: tuple[Path, Path], tmp_path: Path) -> None:
        target = tmp_path / "mix.safetensors"
        with pytest.raises(SystemExit, match=r"is under MIT, .* CC BY-NC 4\.0"):
            average_models.average(*two, 0.9, target, tmp_path, tmp_path, [])
        assert not target.exists()

    def test_of_two_shapes_is_refused(self, tmp_path: Path) -> None:
        one, two = (write_random_model(tmp_path / name, depth=2) for name in "ab")
        spec, tensors = read_model(two).spec, load_file(two)
        wider = dict(spec.generator) | {"dilations": [1, 2]}
        write_model(two, replace(spec, generator=wider), tensors)
        target = tmp_path / "mix.safetensors"
        with pytest.raises(SystemExit, match="are built differently"):
            average_models.average(one, two, 0.5, target, tmp_path, tmp_path, [])

    def test_of_a_file_from_before_hints_were_weighed_goes_on(self, tmp_path: Path) -> None:
        new, old = (write_random_model(tmp_path / name, depth=2) for name in "ab")
        spec, tensors = read_model(old).spec, load_file(old)
        known = {k: v for k, v in spec.generator.items() if k != "weighs_hint"}
        assert known != spec.generator
        write_model(old, replace(spec, generator=known), tensors)
        with pytest.raises(TrainingError):  # both fit; there are no scenes to measure them on
            average_models.average(
                new, old, 0.5, tmp_path / "mix.safetensors", tmp_path, tmp_path / "no", []
            )


def test_another_picture_is_no_map_of_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (30, 30), "green").save(tmp_path / "tiny.png")
    prior = tmp_path / "prior.tif"
    monkeypatch.setattr(make_colour_prior, "PRIOR_FILE", str(prior))
    with pytest.raises(SystemExit, match="30×30 px, and the map of the world has 5400×2700"):
        make_colour_prior.main(str(tmp_path / "tiny.png"))
    assert not prior.exists()


def test_baselines_of_half_of_the_data_leave_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "baselines"
    folder.mkdir()
    (folder / "registry.json").write_text("[]\n")
    (tmp_path / "aerial" / "train").mkdir(parents=True)
    monkeypatch.setattr(make_baselines, "FOLDER", folder)
    with pytest.raises(EvaluationError):
        make_baselines.make(tmp_path)
    assert bytes_of(folder) == {"registry.json": b"[]\n"}


class TestInt8:
    def test_the_record_is_of_the_weights_that_are_shipped(self) -> None:
        records = json.loads(make_int8.RECORD.read_text("utf-8"))
        assert make_int8.of_shipped_weights(records) == records
        assert {r["model"] for r in records} == {m.full_name for m in shipped_models()}

    def test_records_of_other_weights_are_left_out(self) -> None:
        records = json.loads(make_int8.RECORD.read_text("utf-8"))
        gone = [records[0] | {"model": "aerial-nir@1"}, records[1] | {"model_sha256": "0" * 64}]
        assert make_int8.of_shipped_weights([*gone, *records[2:]]) == records[2:]


class TestAdopt:
    @pytest.fixture
    def docs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        docs = tmp_path / "docs"
        shutil.copytree(write_results.DOCS / "results", docs / "results")
        pages = []
        for page in write_results.PAGES:
            copy = docs / page.relative_to(write_results.DOCS)
            copy.parent.mkdir(exist_ok=True)
            pages.append(Path(shutil.copy(page, copy)))
        monkeypatch.setattr(write_results, "DOCS", docs)
        monkeypatch.setattr(write_results, "PAGES", tuple(pages))
        return docs

    def run(self, monkeypatch: pytest.MonkeyPatch, *given: object) -> None:
        monkeypatch.setattr("sys.argv", ["write_results.py", *map(str, given)])
        write_results.main()

    def test_a_record_that_lacks_a_table_changes_nothing(
        self, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = json.loads((docs / "results" / "satellite.json").read_text("utf-8"))
        for task in record["tasks"]:
            task["models"] = [dict(m, per_scene=[]) for m in task["models"][:1]]
        new = tmp_path / "satellite.json"
        new.write_text(json.dumps(record))
        before = bytes_of(docs)
        with pytest.raises(KeyError):
            self.run(monkeypatch, "--adopt", new)
        assert bytes_of(docs) == before

    def test_a_record_that_nothing_reads_is_refused(
        self, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new = Path(shutil.copy(docs / "results" / "satellite.json", tmp_path / "satelite.json"))
        before = bytes_of(docs)
        with pytest.raises(SystemExit, match=r"satelite\.json: no table reads such a record"):
            self.run(monkeypatch, "--adopt", new)
        assert bytes_of(docs) == before

    def test_a_record_is_taken_and_the_pages_follow(
        self, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = json.loads((docs / "results" / "satellite.json").read_text("utf-8"))
        for task in record["tasks"]:
            for model in task["models"]:
                model["mean_over_places"]["angular"]["value"] += 50
                model["per_scene"] = []
        new = tmp_path / "satellite.json"
        new.write_text(json.dumps(record))
        self.run(monkeypatch, "--adopt", new)
        before = (write_results.PAGES[0]).read_text("utf-8")
        kept = json.loads((docs / "results" / "satellite.json").read_text("utf-8"))
        assert "per_scene" not in kept["tasks"][0]["models"][0]
        value = kept["tasks"][0]["models"][0]["mean_over_places"]["angular"]["value"]
        assert value > 50
        assert f"{value:.2f}" in before
        self.run(monkeypatch, "--check")
