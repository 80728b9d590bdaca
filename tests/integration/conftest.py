"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pictures import painting_model

from nirgeo.modelfile import Model


@pytest.fixture(autouse=True)
def scenes_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of a few hundred pixels would be computed at once, and no border be seen."""
    monkeypatch.setattr("nirgeo.array_blocks.WIDE_ENOUGH", 100)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for model files."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="session")
def tiny(weights: Path) -> Model:
    """A reflectance model that costs next to nothing; its halo is about 23 px."""
    return painting_model(weights, name="tiny", seed=11)


@pytest.fixture(scope="session")
def tiny_counts(weights: Path) -> Model:
    """The same for display counts."""
    return painting_model(weights, name="tiny", quantity="counts", seed=12)


@pytest.fixture(scope="session")
def full_size(weights: Path) -> Model:
    """Random weights in the shape of the shipped models: width 64, depth 8."""
    return painting_model(weights, name="full-size", seed=13, width=64, depth=8)


@pytest.fixture(scope="session")
def with_prior(weights: Path) -> Model:
    """As ``full_size``, and it listens to what is known of the colours of the place."""
    tones = {"offset": [0.1, -0.2], "matrix": [[1.2, 0.1], [-0.1, 0.9]], "error": [0.1, 0.15]}
    return painting_model(weights, name="with-prior", seed=14, width=64, depth=8, tones=tones)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real imagery: the folder that NIRGEO_DATA names, else ``../shared/data``."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("NIRGEO_DATA") or default)
    if not folder.is_dir():
        pytest.skip("no real imagery here; name its folder in NIRGEO_DATA")
    return folder
