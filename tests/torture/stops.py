"""Runs that are killed, or asked to end, at random moments between their start and their end."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

from torture.record import Record
from torture.runs import Run, Watched, Whole, arguments, left_behind, scene_of, sha256_of

MODEL = "baseline/grey"  # the cheapest of all: what is tested is not the network
SIDE = 8192
SMALL = ("--chunk", 4)  # many chunks of a smaller scene, so that there are many moments among them


def whole_of(scene: Path, folder: Path, *more: object, model: object = MODEL) -> Whole:
    """An uninterrupted run, twice: the first one of a machine reads everything from its disk."""
    target = folder / "whole.tif"
    seconds = 0.0
    for _ in range(2):
        target.unlink(missing_ok=True)
        run = Watched(arguments(scene, target, *more, model=model), target, None).end()
        if run.code:
            raise RuntimeError(f"the uninterrupted run failed: {run.stderr}")
        seconds = run.seconds
    return Whole.of(target, seconds)


def kills(seed: int, cases: int, folder: Path, *, side: int = SIDE) -> Record:
    """SIGKILL, then ``--resume``: the same bytes, no finished chunk made again, nothing left."""
    record = Record("kills", seed)
    chance = random.Random(seed)
    scene = scene_of(folder / "scene.tif", side)
    whole = whole_of(scene, folder)
    record.figures["seconds of an uninterrupted run"] = whole.seconds
    place = folder / "place"
    while record.cases < cases:
        place.mkdir()
        moment = chance.uniform(0, whole.seconds)
        _kill(scene, place / "out.tif", whole, moment, record)
        shutil.rmtree(place)
    return record


def _kill(scene: Path, target: Path, whole: Whole, moment: float, record: Record) -> None:
    again = arguments(scene, target, "--resume", model=MODEL)
    killed = Watched(again[:-1], target, whole).end(moment)
    if killed.code == 0:  # this time it was faster than the moment; draw another
        return
    if _all_done(target):
        problems = killed.problems + _made_well(target, whole)
        record.add("when all was done", problems, f"killed after {moment:.2f} s")
        return
    stage = killed.stage(target)
    problems = killed.problems + left_behind(target.parent, target.name, f".{target.name}.nirgeo")
    if killed.code != -signal.SIGKILL:
        problems.append(f"ended by itself with {killed.code}: {killed.stderr[-300:]}")
    resumed = Watched(again, target, whole).end()
    problems += resumed.problems + _resumed_well(killed, resumed, target, whole)
    record.largest("chunks", resumed.total)
    record.largest("most chunks kept", resumed.resumed)
    record.count("runs resumed with chunks", resumed.resumed > 0)
    record.count("finished chunks", killed.done)
    record.count("finished chunks computed again", max(0, killed.done - resumed.resumed))
    record.add(stage, problems, f"killed after {moment:.2f} s")


def _all_done(target: Path) -> bool:
    """Whether nothing was left to do but to end the process: ``--resume`` then finds a file that it
    does not overwrite."""
    return target.exists() and not target.with_name(f".{target.name}.nirgeo").exists()


def _made_well(target: Path, whole: Whole) -> list[str]:
    """What is wrong with a result that a run left which was stopped when all was done."""
    problems = left_behind(target.parent, target.name)
    if sha256_of(target) != whole.sha256:
        problems.append("other bytes than those of an uninterrupted run")
    return problems


def _resumed_well(killed: Run, resumed: Run, target: Path, whole: Whole) -> list[str]:
    problems = left_behind(target.parent, target.name)
    if resumed.code:
        return [*problems, f"--resume failed: {resumed.stderr[-300:]}"]
    if resumed.resumed < killed.done:
        problems.append(f"{killed.done} chunks were done, {resumed.resumed} are resumed")
    if resumed.computed != resumed.total - resumed.resumed:
        problems.append(f"{resumed.computed} chunks computed, {resumed.resumed} resumed")
    if sha256_of(target) != whole.sha256:
        problems.append("other bytes than those of an uninterrupted run")
    return problems


def interruptions(seed: int, cases: int, folder: Path, *, side: int = SIDE // 2) -> Record:
    """SIGINT and SIGTERM: exit codes of 130 and 143 and one line; nothing stays, or with
    ``--resume`` the finished chunks do, and a further run ends with the same bytes."""
    record = Record("interruptions", seed)
    chance = random.Random(seed)
    scene = scene_of(folder / "scene.tif", side)
    whole = whole_of(scene, folder, *SMALL)
    place = folder / "place"
    while record.cases < cases:
        place.mkdir()
        number = chance.choice((signal.SIGINT, signal.SIGTERM))
        keep = chance.random() < 0.5
        moment = chance.uniform(0, whole.seconds)
        _interrupt(scene, place / "out.tif", whole, (moment, number, keep), record)
        shutil.rmtree(place)
    return record


def _interrupt(
    scene: Path,
    target: Path,
    whole: Whole,
    how: tuple[float, signal.Signals, bool],
    record: Record,
) -> None:
    moment, number, keep = how
    more = (*SMALL, *(("--resume",) if keep else ()))
    run = Watched(arguments(scene, target, *more, model=MODEL), target, whole).end(moment, number)
    if run.code == 0:
        return
    problems = list(run.problems)
    stage = run.stage(target)
    code = 128 + number
    lines = run.stderr.strip().splitlines()
    if run.code == -number:  # as a shell sees it the same; but no handler was there yet
        stage = "before the command began"
        code = -number
    elif not lines or not lines[-1].startswith("Error: ") or "Traceback" in run.stderr:
        problems.append(f"not one line: {run.stderr[-500:]}")
    if run.code != code:
        problems.append(f"{number.name} ended with {run.code}: {run.stderr[-300:]}")
    if not target.exists():
        state = f".{target.name}.nirgeo"
        problems += left_behind(target.parent, *((state,) if keep else ()))
    if _all_done(target):
        problems += _made_well(target, whole)
        stage = "when all was done"
    elif keep:
        resume = arguments(scene, target, *SMALL, "--resume", model=MODEL)
        again = Watched(resume, target, whole).end()
        problems += again.problems + _resumed_well(run, again, target, whole)
    record.add(f"{number.name} {stage}", problems, f"{number.name} after {moment:.2f} s")
