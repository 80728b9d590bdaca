"""What the documentation's hooks make of pages."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def without_widgets() -> object:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    return runpy.run_path(str(ROOT / "tools" / "site_pages.py"))["without_widgets"]


def page_with_a_map() -> str:
    """A notebook with a map as nbconvert writes it, with the state that ipyleaflet has."""
    nbformat = pytest.importorskip("nbformat", reason="notebooks are an extra")
    nbconvert = pytest.importorskip("nbconvert", reason="the site needs the extra docs")
    ipyleaflet = pytest.importorskip("ipyleaflet", reason="maps are an extra")
    from ipywidgets import Widget

    bounds = ((52.0, 12.0), (53.0, 13.0))
    names = {"left": "near <infrared>", "right": "nirgeo"}
    layers = {
        pane: ipyleaflet.ImageOverlay(
            url=f"data:image/png;base64,{pane}", bounds=bounds, name=name, pane=pane
        )
        for pane, name in reversed(names.items())
    }
    control = ipyleaflet.SplitMapControl(left_layer=layers["left"], right_layer=layers["right"])
    shown = ipyleaflet.Map(controls=[control], panes={pane: {"zIndex": 410} for pane in names})
    view = {"version_major": 2, "version_minor": 0, "model_id": shown.model_id}
    cell = nbformat.v4.new_code_cell(
        "leaflet",
        outputs=[
            nbformat.v4.new_output(
                "display_data", {"application/vnd.jupyter.widget-view+json": view}
            )
        ],
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    state = {"application/vnd.jupyter.widget-state+json": Widget.get_manager_state()}
    notebook.metadata["widgets"] = json.loads(json.dumps(state))
    html, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    return str(html)


def test_a_map_becomes_pictures_and_loads_nothing(without_widgets: object) -> None:
    html = page_with_a_map()
    assert "html-manager" in html
    made = without_widgets(html)  # type: ignore[operator]
    assert "html-manager" not in made
    assert "vnd.jupyter.widget" not in made
    left = made.index('<img src="data:image/png;base64,left" alt="near &lt;infrared&gt;">')
    assert left < made.index('<img src="data:image/png;base64,right" alt="nirgeo">')


def test_other_pages_stay_as_they_are(without_widgets: object) -> None:
    html = "<p>text</p><script>(function() {})()</script>"
    assert without_widgets(html) == html  # type: ignore[operator]
