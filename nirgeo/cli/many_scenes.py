"""Many scenes on a cluster: each worker takes one, colorizes it and writes its own file.

What a scene has to say is collected where it is colorized and told here once it is finished, so
that the events of one scene follow those of the other, as they do without a cluster.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirgeo import cluster, gdal_settings, sent
from nirgeo.cli import options as shared
from nirgeo.cli.one_scene import colorize_one
from nirgeo.cli.reporting import OfScene, Reporter
from nirgeo.damage import damage_told_of
from nirgeo.errors import NirgeoError, SourceError
from nirgeo.hrefs import absolute, absolute_scene

if TYPE_CHECKING:
    from distributed import Client

Job = tuple[str | None, tuple[str, str | None]]
"""A scene, and the path of its result with a remark."""

Event = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """A :class:`nirgeo.cli.reporting.Reporter` that remembers what it is told.

    ``wanted`` tells whether somebody still waits for that; if not, the scene is given up.
    """

    def __init__(self, wanted: Callable[[], bool] = lambda: True) -> None:
        self.events: list[Event] = []
        self._wanted = wanted

    def message(self, text: str) -> None:
        self.events.append(("message", (text,), {}))

    def start(self, done: int, total: int) -> None:
        self.events.append(("start", (done, total), {}))

    def progress(self, done: int, total: int) -> None:
        if not self._wanted():
            raise NirgeoError("nobody waits for this scene any more")
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
        source = scene if scene is None else absolute_scene(scene)
        tasks[path] = source, (target, remark), _seen(source, target)
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
    job: tuple[str | None, tuple[str, str | None], Sequence[str]],
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> list[Event]:
    """On a worker: one scene from its file to its result.

    ``job`` is the scene, the path of its result with a remark, and which files and folders of them
    the sender sees.

    Raises
    ------
    ClusterError : other versions than the sender's could make other pixels
    SourceError : what the sender sees is not there
    """
    sent.refuse_other_versions(versions)
    scene, place, seen = job
    _refuse_unseen(seen)
    options = {"workers": 1, **_given(options)}
    recorder = Recorder(_somebody_waits())

    def run() -> None:
        with gdal_settings.settings_from(settings), damage_told_of():
            # A dead worker may have finished the scene before it died.
            colorize_one(scene, {}, place, recorder, options, of_several=True, again=True)

    sent.bare(run)
    return recorder.events


def _somebody_waits() -> Callable[[], bool]:
    """Whether the task that this thread is at is still asked for: dask itself ends none.

    One that is not would go on to compute, and write a scene whose run was interrupted.
    """
    from distributed import get_worker
    from distributed.core import Status

    try:
        worker = get_worker()
        key = worker.get_current_task()
    except (ValueError, AttributeError):  # in no task
        return lambda: True

    def asked_for() -> bool:
        if worker.status is not Status.running:
            return True  # it has lost its scheduler: what is done is kept then
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    return asked_for


def _seen(scene: str | None, target: str) -> list[str]:
    """Of a scene and the folder of its result, what is there."""
    places = [*([] if scene is None else [scene]), os.path.dirname(target)]
    return [place for place in places if os.path.exists(place)]


def _refuse_unseen(seen: Sequence[str]) -> None:
    """
    Raises
    ------
    SourceError : something is not there on this worker
    """
    for place in seen:
        if not os.path.exists(place):
            raise SourceError(
                f"{place} is not there on the worker {socket.gethostname()}: it was removed, or "
                "has another name there; scenes and folders of results need the same everywhere"
            )


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
