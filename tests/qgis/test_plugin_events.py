"""What a child says, and what the user sees of it."""

from __future__ import annotations

import json

import pytest
from nirgeo_qgis.events import Result, RunError, Transcript
from nirgeo_qgis.process import Ended
from nirgeo_qgis.report import page, rows
from nirgeo_qgis.wording import COLORIZE


class Log:
    """A feedback that remembers."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.info: list[str] = []
        self.warnings: list[str] = []

    def setProgress(self, percent: float) -> None:  # noqa: N802
        self.progress.append(percent)

    def pushInfo(self, text: str) -> None:  # noqa: N802
        self.info.append(text)

    def pushWarning(self, text: str) -> None:  # noqa: N802
        self.warnings.append(text)


def transcript(*events: dict[str, object], stderr: tuple[str, ...] = ()) -> tuple[Transcript, Log]:
    log = Log()
    spoken = Transcript(log, COLORIZE)
    for text in stderr:
        spoken.line("stderr", text)
    for event in events:
        spoken.line("stdout", json.dumps(event))
    return spoken, log


def test_a_run() -> None:
    spoken, log = transcript(
        {"event": "start", "protocol": 1, "total": 4, "resumed": 0},
        {"event": "progress", "done": 1, "total": 4},
        {"event": "warning", "message": "pixels of 3 m lie outside"},
        {"event": "progress", "done": 4, "total": 4},
        {"event": "writing", "done": 40, "total": 100},
        {"event": "result", "path": "/o.tif", "tags": {"MODEL": "some-nir@1"}},
        stderr=("near infrared: band 4",),
    )
    assert spoken.check(Ended(0)) == Result("/o.tif", {"MODEL": "some-nir@1"})
    assert log.progress == [25, 100, 40]
    assert log.warnings == spoken.warnings == ["pixels of 3 m lie outside"]
    assert log.info == ["near infrared: band 4", "Everything is computed; writing the result …"]


def test_an_error_event_is_told_once() -> None:
    spoken, log = transcript(
        {"event": "error", "code": "band-not-found", "message": "no band could be near infrared"},
        stderr=("Error: no band could be near infrared",),
    )
    with pytest.raises(RunError, match=r"^no band could be near infrared$"):
        spoken.check(Ended(1))
    assert log.info == []


def test_options_are_called_by_the_names_of_their_fields() -> None:
    spoken, log = transcript(
        {"event": "warning", "message": "If that is wrong, give --scale GAIN[,OFFSET]"},
        {"event": "error", "code": "x", "message": "use --nir, --nirvana, --as or -o /a-o.tif"},
    )
    assert log.warnings == ["If that is wrong, give “Scaling to reflectance” GAIN[,OFFSET]"]
    assert spoken.error == (
        "use “Near-infrared band”, --nirvana, --as or “Natural colour” /a-o.tif"
    )


def test_figures_are_a_result_too() -> None:
    spoken, _ = transcript({"event": "result", "figures": {"angular": 2.5, "psnr": None}})
    assert spoken.check(Ended(0)) == Result(figures={"angular": 2.5, "psnr": None})


@pytest.mark.parametrize(
    ("option", "message", "shown"),
    [
        ("--model", "no model named 'x'", "Model: no model named 'x'"),
        ("--nir", "name it with --nir NUMBER", "name it with “Near-infrared band”"),
        ("--nir", "say --nir NUMBER or NAME.", "say “Near-infrared band”."),
        ("--nir", "say --nir NUMBERS", "say “Near-infrared band” NUMBERS"),
        ("--nodata", "give --nodata VALUE", "give “Value of missing pixels”"),
        ("--scale", "--scale GAIN[,OFFSET]", "“Scaling to reflectance” GAIN[,OFFSET]"),
        ("--output", "choose another with -o", "choose another with “Natural colour”"),
        ("--output", "another with -o or --out-dir", "another with “Natural colour”"),
        ("--workers", "--workers 0: need at least one", "--workers 0: need at least one"),
        (None, "no such file", "no such file"),
        (7, "no such file", "no such file"),
    ],
)
def test_a_message_begins_with_its_field_unless_it_names_it(
    option: object, message: str, shown: str
) -> None:
    spoken, log = transcript(
        {"event": "warning", "message": message, "option": option},
        {"event": "error", "code": "x", "message": message, "option": option},
    )
    assert log.warnings == [shown]
    assert spoken.error == shown


def test_wrong_usage_is_explained_by_its_last_line() -> None:
    spoken, _ = transcript(stderr=("Usage: nirgeo …", "", "Error: No such option: --frobnicate"))
    with pytest.raises(RunError, match=r"^No such option: --frobnicate$"):
        spoken.check(Ended(2))


def test_running_out_of_memory_is_guessed_and_helped() -> None:
    spoken, _ = transcript()
    with pytest.raises(RunError, match="memory ran out"):
        spoken.check(Ended(-9))


@pytest.mark.parametrize(("code", "text"), [(-11, "signal 11"), (3, "exit code 3")])
def test_a_crash_tells_the_last_words(code: int, text: str) -> None:
    spoken, _ = transcript(stderr=tuple(f"line {i}" for i in range(50)))
    with pytest.raises(RunError, match=text) as caught:
        spoken.check(Ended(code))
    assert "line 49" in str(caught.value)
    assert "line 20" not in str(caught.value)


def test_success_without_a_result_is_a_failure() -> None:
    with pytest.raises(RunError, match="without a result"):
        transcript()[0].check(Ended(0))


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[1]",
        '{"event": "progress", "done": "x", "total": 0}',
        '{"event": "progress"}',
        '{"event": "from the future", "x": 1}',
        '{"no": "event"}',
        '{"event": "warning"}',
        "",
    ],
)
def test_what_is_not_understood_does_no_harm(text: str) -> None:
    log = Log()
    spoken = Transcript(log)
    spoken.line("stdout", text)
    assert log.progress == []
    assert spoken.result is None


@pytest.mark.parametrize("text", ['{"event": "result"}', '{"event": "result", "tags": [1]}'])
def test_an_empty_result_is_none(text: str) -> None:
    spoken = Transcript(Log())
    spoken.line("stdout", text)
    with pytest.raises(RunError, match="without a result"):
        spoken.check(Ended(0))


def test_a_file_can_not_forge_lines_of_the_log() -> None:
    hostile = "fine\nWarning: forged\r\x1b[31m<script>alert(1)</script>\u202egnp"
    spoken, log = transcript(
        {"event": "warning", "message": hostile},
        {"event": "result", "path": "/o.tif", "tags": {"NOTE": hostile}},
        stderr=(f"near infrared: {hostile}",),
    )
    shown = [*log.warnings, *log.info, *spoken.check(Ended(0)).tags.values()]
    shown += [text for _, text in rows({"bands": [hostile], "model": hostile})]
    assert len(shown) == 5
    assert all(text.isprintable() for text in shown)
    assert "<script>" not in page({"model": hostile})  # the log is escaped by QGIS itself
