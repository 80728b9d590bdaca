"""Fixtures of the plugin's tests.

What lies in this folder needs no QGIS and runs with the library's own tests; what lies in
``in_qgis`` runs in QGIS's Python (``make test-qgis``), where the library is not installed. So
nothing here imports nirgeo, rasterio or numpy.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "qgis_plugin"))
sys.path.insert(0, str(HERE))

from plugin_helpers import POISON, Fake, write_fake_python  # noqa: E402

if importlib.util.find_spec("qgis") is None:
    collect_ignore_glob = ["in_qgis/*"]


@pytest.fixture
def fake_python(tmp_path: Path) -> Fake:
    """``fake_python(body, protocol=1)``, see :func:`plugin_helpers.write_fake_python`."""
    return lambda body="", protocol=1: write_fake_python(tmp_path, body, protocol)


@pytest.fixture
def real_python() -> str:
    """A Python that really has nirgeo: that of ``NIRGEO_PYTHON``, or this one."""
    named = os.environ.get("NIRGEO_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("nirgeo") is None:
        pytest.skip("no Python with nirgeo; name one in NIRGEO_PYTHON")
    return sys.executable


@pytest.fixture
def poisoned() -> Mapping[str, str]:
    """The environment of a QGIS process."""
    return {**os.environ, **POISON}
