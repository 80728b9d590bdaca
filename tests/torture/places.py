"""What can go wrong around a run: its disk, its source, its neighbours."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio

from torture.record import Record
from torture.runs import Run, Watched, Whole, arguments, left_behind, scene_of, sha256_of
from torture.stops import MODEL, SMALL, whole_of

SIDE = 1536


def one_line(run: Run, *codes: str) -> list[str]:
    """What is wrong with the refusal of a run: it should be one line, with one of these codes."""
    lines = [line for line in run.stderr.splitlines() if line.startswith("Error: ")]
    problems = []
    if run.code != 1 or run.error not in codes:
        problems.append(f"exit code {run.code}, {run.error}: {run.stderr[-300:]}")
    if len(lines) != 1 or "Traceback" in run.stderr:
        problems.append(f"not one line: {run.stderr[-500:]}")
    return problems


def finished(run: Run, target: Path, whole: Whole, kept: int = 0) -> list[str]:
    """What is wrong with a run that should have ended well, from at least ``kept`` chunks."""
    problems = run.problems + left_behind(target.parent, target.name)
    if run.code:
        return [*problems, f"exit code {run.code}: {run.stderr[-300:]}"]
    if run.resumed < kept:
        problems.append(f"{kept} chunks were done, {run.resumed} are resumed")
    if sha256_of(target) != whole.sha256:
        problems.append("other bytes than those of an uninterrupted run")
    return problems


# --- full disks -----------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A file system of ``size`` bytes at ``folder``; yields a function that gives it another size.

    Raises
    ------
    PermissionError : mounting is not permitted here
    """
    folder.mkdir()
    given = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(given, capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"mounting a small file system is not permitted here: {done.stderr}")

    def resize(size: int) -> None:
        given = ["mount", "-o", f"remount,size={size}", str(folder)]
        subprocess.run(given, check=True, capture_output=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def full_disk(seed: int, cases: int, folder: Path) -> Record:
    """Disks that are full at any moment, from the first chunk to the end of the file."""
    record = Record("full-disk", seed)
    chance = random.Random(seed)
    scene = scene_of(folder / "scene.tif", SIDE)
    whole = whole_of(scene, folder, *SMALL)
    blocks = 4 * SIDE**2
    while record.cases < cases:
        share, keep = chance.uniform(0.02, 2.4), chance.random() < 0.5
        with small_disk(folder / "disk", int(share * blocks)) as resize:
            target = folder / "disk" / "out.tif"
            more = (*SMALL, *(("--resume",) if keep else ()))
            run = Watched(arguments(scene, target, *more, model=MODEL), target, whole).end()
            if run.code == 0:
                outcome, problems = "it was large enough", finished(run, target, whole)
            else:
                outcome = f"refused {run.stage(target)}"
                problems = run.problems + one_line(run, "target-unwritable")
                # What is computed is kept in any case where only the file could not be made.
                kept = keep or "What is computed is kept in" in run.stderr
                problems += left_behind(
                    target.parent, *([f".{target.name}.nirgeo"] if kept else [])
                )
                resize(4 * blocks)
                again = arguments(scene, target, *SMALL, "--resume", model=MODEL)
                second = Watched(again, target, whole).end()
                problems += finished(second, target, whole, run.done if kept else 0)
        record.add(outcome, problems, f"{share:.3f} of the blocks' size")
    return record


# --- sources --------------------------------------------------------------------------------------


def read_errors(seed: int, cases: int, folder: Path) -> Record:
    """A block in the middle of the source that can't be decoded; then it is repaired."""
    record = Record("read-errors", seed)
    chance = random.Random(seed)
    plain = scene_of(folder / "plain.tif", SIDE)
    scene = folder / "scene.tif"
    _compressed(plain, scene)
    sound, stamp = scene.read_bytes(), scene.stat().st_mtime_ns
    with rasterio.open(scene) as file:
        blocks = [f"BLOCK_OFFSET_{j}_{i}" for (i, j), _ in file.block_windows(1)]
        starts = [int(file.get_tag_item(name, "TIFF", bidx=1)) for name in blocks]
    whole = whole_of(scene, folder, *SMALL)
    place = folder / "place"
    while record.cases < cases:
        place.mkdir()
        target = place / "out.tif"
        keep = chance.random() < 0.7
        start = chance.choice(starts)
        scene.write_bytes(sound[:start] + bytes([255]) * 16 + sound[start + 16 :])
        os.utime(scene, ns=(stamp, stamp))
        more = (*SMALL, *(("--resume",) if keep else ()))
        run = Watched(arguments(scene, target, *more, model=MODEL), target, whole).end()
        problems = run.problems + one_line(run, "source-unreadable")
        problems += left_behind(place, *((f".{target.name}.nirgeo",) if keep else ()))
        scene.write_bytes(sound)
        os.utime(scene, ns=(stamp, stamp))
        again = arguments(scene, target, *SMALL, "--resume", model=MODEL)
        second = Watched(again, target, whole).end()
        problems += finished(second, target, whole, run.done if keep else 0)
        record.add(f"refused {run.stage(place / 'no')}", problems, f"damage at byte {start}")
        shutil.rmtree(place)
    return record


def _compressed(plain: Path, scene: Path) -> None:
    """A copy in compressed blocks of 128 px, in which damage is noticed."""
    with rasterio.open(plain) as file:
        profile = file.profile | {"compress": "zstd", "blockxsize": 128, "blockysize": 128}
        with rasterio.open(scene, "w", **profile) as made:
            made.write(file.read())


def _touched(scene: Path) -> None:
    status = scene.stat()
    os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _replaced(scene: Path) -> None:
    other = scene.with_name("other.tif")
    shutil.copyfile(scene, other)
    os.replace(other, scene)


def _written_to(scene: Path) -> None:
    with rasterio.open(scene, "r+") as file:
        file.write(
            np.full((64, 64), 77, np.uint16), 1, window=rasterio.windows.Window(3, 5, 64, 64)
        )


def _masked(scene: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as file:
        file.write_mask(np.eye(file.height, file.width) == 0)


def _longer(scene: Path) -> None:
    stamp = scene.stat().st_mtime_ns
    with scene.open("ab") as file:
        file.write(b"\0")
    os.utime(scene, ns=(stamp, stamp))


CHANGES = (_touched, _replaced, _written_to, _masked, _longer)


def changed_scenes(seed: int, cases: int, folder: Path) -> Record:
    """Killed, then the scene is another: ``--resume`` refuses, without it the new one is made."""
    record = Record("changed-scenes", seed)
    chance = random.Random(seed)
    source = scene_of(folder / "source.tif", SIDE)
    while record.cases < cases:
        place = folder / "place"
        (place / "out").mkdir(parents=True)
        scene, target = place / "scene.tif", place / "out" / "out.tif"
        shutil.copy2(source, scene)
        change = CHANGES[record.cases % len(CHANGES)]
        killed = Watched(arguments(scene, target, *SMALL, model=MODEL), target, None)
        journal = target.parent / f".{target.name}.nirgeo" / "journal.jsonl"
        wanted = chance.randrange(2, 12)
        while killed.look() and not (journal.exists() and _lines(journal) >= wanted):
            time.sleep(0.002)
        killed.child.send_signal(signal.SIGKILL)
        run = killed.end()
        problems = [] if run.code == -signal.SIGKILL else ["it ended before it was killed"]
        change(scene)
        again = arguments(scene, target, *SMALL, "--resume", model=MODEL)
        problems += one_line(Watched(again, target, None).end(), "resume-mismatch")
        whole = whole_of(scene, place, *SMALL)
        anew = Watched(again[:-1], target, whole).end()
        problems += finished(anew, target, whole)
        record.add(f"refused: {change.__name__.strip('_')}", problems, f"at {wanted} lines")
        shutil.rmtree(place)
    return record


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


# --- two at once ----------------------------------------------------------------------------------


def two_at_once(seed: int, cases: int, folder: Path) -> Record:
    """Two processes, one target: one writes it, the other is refused, whenever it begins."""
    record = Record("two-at-once", seed)
    chance = random.Random(seed)
    scene = scene_of(folder / "scene.tif", SIDE)
    whole = whole_of(scene, folder, *SMALL)
    place = folder / "place"
    while record.cases < cases:
        place.mkdir()
        target = place / "out.tif"
        delay = chance.choice((0.0, chance.uniform(0, 1.2 * whole.seconds)))
        more = chance.choice(((), ("--resume",)))
        first = Watched(arguments(scene, target, *SMALL, *more, model=MODEL), target, whole)
        while first.look() and first.seconds < delay:
            time.sleep(0.002)
        second = Watched(arguments(scene, target, *SMALL, *more, model=MODEL), target, whole)
        runs = (first.end(), second.end())
        problems = [problem for run in runs for problem in run.problems]
        won = [run for run in runs if run.code == 0]
        lost = [run for run in runs if run.code != 0]
        if len(won) != 1:
            problems.append(f"{len(won)} runs wrote it: {json.dumps([r.stderr for r in runs])}")
        for run in lost:
            problems += one_line(run, "target-locked", "target-exists")
        problems += [p for run in won[:1] for p in finished(run, target, whole)]
        outcome = lost[0].error if lost else "both"
        record.add(f"the other: {outcome}", problems, f"{delay:.2f} s after each other")
        shutil.rmtree(place)
    return record
