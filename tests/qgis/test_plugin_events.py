"""What a child says, and what the user sees of it."""

from __future__ import annotations

import json

import pytest
from nirgeo_qgis.events import RunError, Transcript
from nirgeo_qgis.process import Ended


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
    spoken = Transcript(log)
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
        {"event": "result", "path": "/o.tif"},
        stderr=("near infrared: band 4",),
    )
    assert spoken.check(Ended(0)) == "/o.tif"
    assert log.progress == [25, 100]
    assert log.warnings == spoken.warnings == ["pixels of 3 m lie outside"]
    assert log.info == ["near infrared: band 4", "All chunks are computed; writing the GeoTIFF …"]


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
        "",
    ],
)
def test_what_is_not_understood_does_no_harm(text: str) -> None:
    log = Log()
    spoken = Transcript(log)
    spoken.line("stdout", text)
    assert log.progress == []
    assert spoken.result is None
