"""A contact sheet: every scene that was scored, side by side with its truth and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nirgeo.errors import EvaluationError
from nirgeo.evaluation import pictures
from nirgeo.evaluation.predict import Predictor
from nirgeo.evaluation.scenes import EvaluationScene, Picture, read_scene
from nirgeo.evaluation.sums import measure
from nirgeo.scene_lists import SceneEntry
from nirgeo.whole_file import written_whole

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, SMALL = 150, 96
"""Longest side of a picture on the sheet, in pixels; the smaller one on sheets of many scenes."""

MANY = 30
"""Scenes from which on a sheet has small pictures and three columns instead of two."""

_GAP, _HEAD, _LINE = 4, 34, 15
_TALLEST = 60_000
"""Pixels of a column of scenes; a JPEG has 65,500 at most."""
_PAPER, _INK = (250, 250, 248), (20, 20, 20)


def contact_sheet(entries: Sequence[SceneEntry], predictor: Predictor) -> bytes:
    """A JPEG with one row of pictures per scene of the predictor's quantity, worst scenes last.

    Near infrared, prediction, truth, angular error, and the expected error of a model that tells
    it. Scenes run down the sheet in columns.

    Raises
    ------
    EvaluationError : pillow is missing, or no scene holds the predictor's quantity
    """
    if find_spec("PIL") is None:
        raise EvaluationError(
            "a contact sheet needs pillow; install the extra: pip install 'nirgeo[evaluate]'"
        )
    rows = []
    many = len(entries) > MANY
    side, columns = (SMALL, 3) if many else (SIDE, 2)
    for entry in entries:
        scene = read_scene(entry)
        if scene.quantity is predictor.quantity:
            rows.append(_row(scene, predictor, side))
    if not rows:
        raise EvaluationError(f"no scene holds {predictor.quantity.value} for {predictor.label}")
    rows.sort(key=lambda row: row[1])
    shown = [(caption, panels) for caption, _, panels in rows]
    return _draw(predictor.label, shown, columns, side)


def _row(
    scene: EvaluationScene, predictor: Predictor, side: int
) -> tuple[str, float, dict[str, Picture]]:
    """Caption, mean angle and pictures of one scene."""
    prediction = predictor.predict(scene)
    shown = (prediction.picture, scene.picture)
    sums, angles = measure(prediction.values, scene.truth, scene.valid, shown)
    panels = dict(pictures.panels(scene, prediction.values, angles, prediction.expected, side))
    angle = sums.figures()["angular"]
    caption = f"{scene.name[-44:]}  {angle:.1f}°"
    if prediction.expected is not None:
        caption += f", expected {np.nanmean(prediction.expected):.1f}°"
    return caption, angle, panels


def _draw(
    label: str, rows: Sequence[tuple[str, dict[str, Picture]]], columns: int, side: int
) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(11)
    titles = list(rows[0][1])
    heights = [max(p.shape[1] for p in panels.values()) + _LINE + _GAP for _, panels in rows]
    columns = max(columns, -(-sum(heights) // _TALLEST))
    columns = max(1, min(columns, len(rows)))
    per_column = -(-len(rows) // columns)
    strips = [slice(c * per_column, (c + 1) * per_column) for c in range(columns)]
    width = len(titles) * (side + _GAP) + 3 * _GAP
    height = _HEAD + max(sum(heights[strip]) for strip in strips) + _GAP
    sheet = Image.new("RGB", (columns * width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (_GAP, 2),
        f"{label}; errors from 0° (dark) to {pictures.SCALE_DEGREES:g}° and more (bright)",
        _INK,
        font,
    )
    for column, strip in enumerate(strips):
        left, top = column * width + _GAP, _HEAD
        for k, title in enumerate(titles):
            draw.text((left + k * (side + _GAP), _HEAD - _LINE), title, _INK, font)
        for (caption, panels), step in zip(rows[strip], heights[strip], strict=True):
            for k, title in enumerate(titles):
                sheet.paste(_image(panels[title]), (left + k * (side + _GAP), top))
            draw.text((left, top + step - _LINE - _GAP), caption, _INK, font)
            top += step
    file = BytesIO()
    sheet.save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def _image(picture: Picture) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, -1)))


def write_sheet(path: Path, entries: Sequence[SceneEntry], predictor: Predictor) -> None:
    """:func:`contact_sheet` as a file, which appears when it is whole."""
    content = contact_sheet(entries, predictor)
    with written_whole(path) as partial:
        partial.write_bytes(content)
