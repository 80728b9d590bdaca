"""Many scenes on a cluster: each worker takes one, colorizes it and writes its own file.

What a scene has to say is collected where it is colorized and told here once it is finished, so
that the events of one scene follow those of the other, as they do without a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirgeo import cluster, gdal_settings, sent
from nirgeo.cli import options as shared
from nirgeo.cli.one_scene import colorize_one
from nirgeo.cli.reporting import OfScene, Reporter
from nirgeo.damage import damage_told_of
from nirgeo.errors import NirgeoError
from nirgeo.hrefs import absolute, absolute_scene

if TYPE_CHECKING:
    from distributed import Client

Job = tuple[str | None, tuple[str, str | None]]
"""A scene, and the path of its result with a remark."""

Event = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """A :class:`nirgeo.cli.reporting.Reporter` that remembers what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def message(self, text: str) -> None:
        self.events.append(("message", (text,), {}))

    def start(self, done: int, total: int) -> None:
        self.events.append(("start", (done, total), {}))

    def progress(self, done: int, total: int) -> None:
        if done == total:  # where it stood in between is no news any more
            self.events.append(("progress", (done, total), {}))

    def writing(self, done: int, total: int) -> None:
        pass  # nor is this

    def warning(self, text: str) -> None:
        self.events.append(("warning", (text,), {}))

    def result(self, path: str | None, **facts: Any) -> None:
        self.events.append(("result", (path,), facts))

    def error(self, code: str, text: str, option: str | None = None) -> None:
        self.events.append(("error", (code, text, option), {}))


def colorize_on_workers(
    client: Client, jobs: Sequence[Job], reporter: Reporter, options: Mapping[str, Any]
) -> None:
    """Colorize every scene on a worker of its own, one thread each.

    Scenes and targets must have the same names for the workers as here. A scene that fails does not
    keep the others from being finished.

    Raises
    ------
    ClusterError : the scheduler is gone, or can't do the work
    NirgeoError : what the only scene that failed raised, or the first of several
    """
    device = shared.resolve_device(options["device"], client)
    options = {**_anywhere(options), "device": device}
    failures: list[tuple[str, NirgeoError]] = []
    tasks, scenes = {}, {}
    for scene, (path, remark) in jobs:
        target = path if path.startswith("/vsi") else absolute(path)
        tasks[path] = (scene if scene is None else absolute_scene(scene), (target, remark))
        scenes[path] = scene or path
    for path, outcome in cluster.each(
        client,
        colorize_there,
        tasks,
        (dict(options), gdal_settings.settings_here(), sent.versions_here()),
        on_gpu=device != "cpu",
    ):
        if isinstance(outcome, NirgeoError):
            failures.append((path, outcome))
            reporter.warning(f"{path} was not written: {outcome}")
            continue
        named = OfScene(reporter, scenes[path])
        for name, arguments, facts in outcome:
            getattr(named, name)(*arguments, **facts)
    if failures:
        path, first = failures[0]
        if len(failures) == 1:
            raise first
        raise type(first)(f"{len(failures)} of {len(jobs)} scenes failed; {path}: {first}")


def colorize_there(
    job: Job,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> list[Event]:
    """On a worker: one scene from its file to its result.

    Raises
    ------
    ClusterError : other versions than the sender's could make other pixels
    """
    sent.refuse_other_versions(versions)
    scene, place = job
    options = {"workers": 1, **_given(options)}
    recorder = Recorder()

    def run() -> None:
        with gdal_settings.settings_from(settings), damage_told_of():
            # A dead worker may have finished the scene before it died.
            colorize_one(scene, {}, place, recorder, options, of_several=True, again=True)

    sent.bare(run)
    return recorder.events


def _anywhere(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with files as a worker finds them, which may stand in another folder."""
    found = {**options}
    if found["reference"] is not None:
        found["reference"] = absolute_scene(os.fspath(found["reference"]))
    for name in ("model", "scale"):
        if isinstance(found[name], str) and os.path.exists(found[name]):
            found[name] = absolute(found[name])
    return found


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without a number of workers that nobody chose."""
    return {k: v for k, v in options.items() if k != "workers" or v is not None}
