"""The place a result is written to: checked before the work, guarded during it, clean after it.

Everything a run needs lies in one folder beside the target, ``.NAME.nirgeo``: the lock, the
journal, the finished chunks and the file in the making. The result appears under its own name by a
rename. A target that GDAL reaches over the network has no rename: there the folder is a local one.

A run can be killed between the rename and the removal of its folder. So a mark is left there before
the rename, and the next run, whatever becomes of it, finds a finished file and removes the rest.

A run of several scenes leaves the marks of finished ones until all are: what follows from the first
of them, with ``resume``, are those that are missing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rasterio
from filelock import BaseFileLock, FileLock, Timeout
from rasterio.errors import RasterioError
from rasterio.shutil import copyfiles
from rasterio.windows import Window

from nirgeo.errors import TargetError, TargetExistsError, TargetLockedError
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors
from nirgeo.given import file_name
from nirgeo.handles import close_all, file_stamp
from nirgeo.hrefs import has_scheme

_MARK = "published.json"
_LOCK = "lock"

_OTHER_FORMATS = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jp2", ".webp", ".gif", ".bmp", ".pdf", ".vrt", ".zarr"),
        *(".nc", ".img", ".gpkg", ".kml", ".kmz", ".mbtiles", ".hdf", ".h5", ".zip"),
    )
)
"""Suffixes that promise what is not written. Others are nobody's business."""

_STREAMS = ("/vsistdout", "/vsistdin")
"""GDAL's. A COG is not written from front to back, and is looked at when it is there."""

_BESIDE = (".aux.xml", ".ovr", ".msk")
"""What GDAL or QGIS note about a file: statistics, overviews, a mask."""

_PATIENCE = 2.0
"""Seconds."""

_ABSENT = ("does not exist", "No such file", "NoSuchKey", "404")
"""What GDAL's network file systems say of what is not there. Anything else may be there."""

_LONGEST_NAME = 255
"""Bytes of a name that file systems take."""

_LONGEST_MARK = 2**16
"""Bytes; what is longer is none of nirgeo's."""


class Target:
    """An output path, local or one of GDAL's virtual file systems.

    With ``resume`` it may exist if it is the result of a run that was killed after it had published
    it; what else exists needs ``overwrite``. One ``of_several`` keeps the mark of its result until
    :meth:`forget`; where it may be made ``again``, because another process died of it, it may
    exist too.

    Raises
    ------
    TargetExistsError : it exists and ``overwrite`` is False
    TargetError : its folder does not exist or can't be written to
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        resume: bool = False,
        of_several: bool = False,
        again: bool = False,
    ) -> None:
        self.name = file_name("result", path)
        self.link: str | None = None
        """What was named, if it only points at the result."""
        if "\0" in self.name:
            raise TargetError(f"{self.name!r} is no name of a file")
        if os.path.islink(self.name) and not os.path.isdir(self.name):
            # As whoever opens a link and writes: what it points at is what is made.
            self.link = self.name
            self.name = os.path.realpath(self.name)
        self.overwrite = overwrite
        self.resume = resume
        self.of_several = of_several
        self.takes_finished = resume or again
        self.remote = self.name.startswith("/vsi")
        try:
            os.fspath(Path(self.name).absolute()).encode("utf-8")
        except UnicodeEncodeError:
            raise TargetError(
                f"{self.name!r}: GDAL writes only where names are text in UTF-8, those of folders "
                "too; choose another one with -o"
            ) from None
        if self.remote:
            key = hashlib.sha256(self.name.encode()).hexdigest()[:16]
            self.folder = _temporary_folder(self.name) / f"nirgeo-{key}"
        else:
            place = Path(self.name)
            if not place.name:
                raise TargetError(f"{self.name!r} names no file; choose a place with -o")
            self.folder = place.with_name(f".{place.name}.nirgeo")
            length = len(os.fsencode(self.folder.name))
            if length > _LONGEST_NAME:  # the folder's name is longer than the file's
                excess = length - _LONGEST_NAME
                raise TargetError(f"{place.name[:40]}…: the name is {excess} bytes too long")
        self.check()

    def check(self) -> None:
        if has_scheme(self.name):
            raise TargetError(
                f"{self.name}: results are written to files, or with GDAL's /vsi… paths, for "
                "example /vsis3/BUCKET/KEY.tif"
            )
        self._refuse_foreign_folder()
        place = Path(self.name)
        if place.suffix.lower() in _OTHER_FORMATS or self.name == "-":
            raise TargetError(
                f"{self.name}: results are GeoTIFF files; name one that ends in .tif, and convert "
                "it with gdal_translate"
            )
        if not self.remote and (place.is_dir() or self.name.endswith(("/", os.sep))):
            raise TargetError(f"{self.name} is a folder; name a file in it")
        if self.name.startswith(_STREAMS) or not (self.remote or _may_be_a_file(place)):
            raise TargetError(
                f"{self.name} is a device, a pipe or a stream; results are written to files"
            )
        taken = self.takes_finished and self._mark_fits()
        if not self.overwrite and not taken and self._exists():
            self._tidy_up()
            raise self._exists_error()
        if self.remote:
            return
        parent = place.parent
        if not parent.is_dir():
            raise TargetError(f"{parent} is not a folder; make it first")
        if not os.access(parent, os.W_OK):
            raise TargetError(f"{parent} can't be written to; choose another place with -o")

    def _refuse_foreign_folder(self) -> None:
        """What is in the working folder is removed and trusted, so it must be nobody else's.

        A link may come out of an archive, and point anywhere; and where everybody may write, as
        the system's folder for temporary files, so may folders.
        """
        try:
            found = self.folder.lstat()
        except OSError:
            return
        if stat.S_ISLNK(found.st_mode):
            raise TargetError(f"{self.folder} is a link, and in the way; remove it")
        if self.remote and os.name == "posix" and found.st_uid != os.geteuid():
            raise TargetError(
                f"{self.folder} is another user's, and in the way; have it removed, or set TMPDIR "
                "to a folder of your own"
            )

    def _exists_error(self) -> TargetExistsError:
        return TargetExistsError(
            f"{self.name} exists and won't be overwritten without the `--overwrite` option"
        )

    def _exists(self) -> bool:
        if not self.remote:
            return os.path.lexists(self.name)
        try:
            with rasterio.open(self.name):
                return True
        except RasterioError as error:
            forget_errors()
            said = str(error)
        if any(words in said for words in _ABSENT):
            return False
        if "not recognized" in said:  # something is there, and no raster
            return True
        raise TargetError(
            f"{self.name}: can't tell whether it exists ({said}); if it may be written over, give "
            "--overwrite"
        )

    def holds(self, work: str) -> bool:
        """Whether an earlier run of the same ``work`` published its result and was then killed.

        Call it while the target is guarded. What that run left is removed.

        Raises
        ------
        TargetExistsError : there is a result of other work, and ``overwrite`` is False
        """
        if not (self.takes_finished and self._mark_fits()):
            return False
        same = bool(self._mark().get("work") == work)
        if not same and not self.overwrite:
            if not self.of_several:
                self.clear()
            raise TargetExistsError(
                f"{self.name} was made of another scene, or with other options, and won't be "
                "overwritten without the `--overwrite` option"
            )
        self.settle() if same else self.clear()
        return same

    @property
    def finished(self) -> bool:
        """Whether the result has got its name, and the mark of it is there."""
        return self._mark_fits()

    def _mark(self) -> dict[str, Any]:
        """What a run wrote just before it gave its result the final name."""
        try:
            with open(self.folder / _MARK, "rb", opener=_open_plain_file) as file:
                mark = json.loads(file.read(_LONGEST_MARK))
        except (OSError, ValueError, RecursionError):
            return {}
        return mark if isinstance(mark, dict) else {}

    def _mark_fits(self) -> bool:
        """Whether the file under the final name is the one that the mark speaks of."""
        stamp = file_stamp(self.name)
        return stamp is not None and self._mark().get("stamp") == list(stamp)

    def forget(self) -> None:
        """Remove the mark of a finished result, if there is one."""
        self._tidy_up(forgetting=True)

    def _tidy_up(self, *, forgetting: bool = False) -> None:
        """Remove what a run left that was killed after its result got its name, if one did.

        Without the mark it may be an interrupted run that somebody wants to resume; so may one of
        several scenes, unless this is its end.
        """
        if not self.folder.is_dir():
            return
        lock = FileLock(self.folder / _LOCK, timeout=0)
        with suppress(OSError, Timeout), lock:
            mark = self._mark()
            finished = None if mark.get("of_several") and not forgetting else mark.get("finished")
            named = self._mark_fits()  # it may have both names yet
            if isinstance(finished, str) and (named or not (self.folder / finished).exists()):
                self.clear()
            if os.name == "posix":
                self._remove_lock_if_alone()
        with suppress(OSError):
            self.folder.rmdir()

    @contextmanager
    def guarded(self) -> Iterator[Path]:
        """Hold the target's lock; yields the working folder.

        The lock is the operating system's: it falls with the process, however that ends.

        Raises
        ------
        TargetLockedError : another run holds it
        TargetError : the folder can't be made
        """
        lock = self._lock()
        try:
            self.check()  # the run before us may just have made it
            self._put_back()
            yield self.folder
        finally:
            # Only when no chunk is left: an interrupted run keeps them. The lock
            # is removed while it is held, so that no other run can have begun to use the folder.
            # Windows removes no open file: there it goes afterwards, unless another run opened it.
            if os.name == "posix":
                self._remove_lock_if_alone()
            lock.release()
            if os.name != "posix":
                self._remove_lock_if_alone()
            with suppress(OSError):
                self.folder.rmdir()

    def _lock(self) -> BaseFileLock:
        path = self.folder / _LOCK
        for _ in range(10):
            try:
                os.mkdir(self.folder)  # Path.mkdir fails where another run removes it just then
            except FileExistsError:
                self._refuse_foreign_folder()
                if self.folder.is_file():
                    raise TargetError(f"{self.folder} is in the way; remove it") from None
            except OSError as error:
                raise TargetError(f"{self.folder.parent} can't be written to ({error})") from error
            lock = FileLock(path, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                break
            except (FileNotFoundError, FileExistsError):  # the run before us removes the folder
                continue
            except OSError as error:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    self.folder.rmdir()
                raise TargetError(f"{self.folder} can't be written to ({error})") from error
            if path.exists():
                return lock
            lock.release()  # it guarded a file that is gone
        raise TargetLockedError(
            f"another run is writing {self.name}; wait for it, or choose another output"
        )

    def _remove_lock_if_alone(self) -> None:
        with suppress(OSError):
            if set(os.listdir(self.folder)) <= {_LOCK, _MARK}:
                (self.folder / _LOCK).unlink()

    def clear(self) -> None:
        """Remove everything in the working folder but the lock; the mark last."""
        with suppress(FileNotFoundError):
            entries = [entry for entry in self.folder.iterdir() if entry.name != _LOCK]
            for entry in sorted(entries, key=lambda entry: entry.name == _MARK):
                with suppress(OSError):
                    entry.unlink()

    def settle(self) -> None:
        """Remove what a published result needs no more."""
        if not self.of_several:
            self.clear()
            return
        with suppress(FileNotFoundError):
            for entry in self.folder.iterdir():
                if entry.name not in (_LOCK, _MARK):
                    with suppress(OSError):
                        entry.unlink()

    def publish(self, finished: Path, work: str = "") -> None:
        """Give the finished file its name. ``work`` tells what it is the result of.

        Raises
        ------
        TargetExistsError : another file has got the name meanwhile, and ``overwrite`` is False
        TargetError : it can't be written
        """
        if not self.remote:
            with open(finished, "rb+") as file:
                os.fsync(file.fileno())
            facts = {
                "finished": finished.name,
                "stamp": file_stamp(str(finished)),
                "work": work,
                "of_several": self.of_several,
            }
            with open(self.folder / _MARK, "w", encoding="utf-8") as mark:
                json.dump(facts, mark)
                mark.flush()
                os.fsync(mark.fileno())
            try:
                if self.overwrite:
                    _as_accessible_as(Path(self.name), finished)
                    with self._former_put_aside():
                        _patiently(os.replace, finished, self.name)
                else:
                    self._name_if_free(finished)
                    for beside in _BESIDE:
                        with suppress(OSError):
                            os.unlink(f"{self.name}{beside}")
            except BaseException:
                if not self._mark_fits():  # an interruption may come right after the renaming
                    # Or the next run would take the folder for what a published result has left.
                    with suppress(OSError):
                        (self.folder / _MARK).unlink()
                raise
            for beside in () if self.link is None else _BESIDE:
                with suppress(OSError):
                    os.unlink(f"{self.link}{beside}")
            _sync_folder(Path(self.name).parent)
            return
        if not self.overwrite and self._exists():
            raise self._taken_error()
        try:
            copyfiles(str(finished), self.name)
            # GDAL reports no failure of some of its file systems. A COG ends with the pixels of
            # its lower right corner: what can be read there is whole.
            with rasterio.open(self.name) as copy:
                corner = Window(copy.width - 1, copy.height - 1, 1, 1)
                copy.read(window=corner)
        except GDAL_ERRORS as error:
            forget_errors()
            raise TargetError(f"{self.name} can't be written ({error})") from error

    @contextmanager
    def _former_put_aside(self) -> Iterator[None]:
        """What was noted about the file before is not about this one; it stays if that one does."""
        try:
            for beside, place in self._asides():
                with suppress(OSError):
                    os.replace(beside, place)
            yield
        except BaseException:
            self._put_back()
            raise

    def _asides(self) -> list[tuple[Path, Path]]:
        return [(Path(f"{self.name}{b}"), self.folder / f"former{b}") for b in _BESIDE]

    def _put_back(self) -> None:
        """What a run that was killed, or failed, has put aside of a file that is still there."""
        for beside, place in self._asides():
            if place.exists() and not self._mark_fits():
                with suppress(OSError):
                    os.replace(place, beside)

    def _name_if_free(self, finished: Path) -> None:
        """Rename, but not over a file that came while this one was made."""
        try:
            if os.name != "posix":  # there a rename never goes over a file
                _patiently(os.rename, finished, self.name)
                return
            try:
                os.link(finished, self.name)
            except FileExistsError:
                if not os.path.samefile(finished, self.name):
                    raise
                os.unlink(finished)  # NFS may say so of a link that it has made
            except OSError:  # a file system without links, where there is no better way
                if os.path.lexists(self.name):
                    raise FileExistsError from None
                os.rename(finished, self.name)
            else:
                os.unlink(finished)
        except FileExistsError:
            raise self._taken_error() from None

    def _taken_error(self) -> TargetExistsError:
        return TargetExistsError(
            f"{self.name} has come into being meanwhile, and won't be overwritten without the "
            "`--overwrite` option"
        )


def _temporary_folder(name: str) -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise TargetError(
            f"{name} needs a local folder to be made in, and there is none to write to; set TMPDIR "
            "to one"
        ) from error


def _open_plain_file(path: str, flags: int) -> int:
    """Opener of a file that is no link, and no pipe to wait for."""
    fd = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a file", path)
    return fd


def _may_be_a_file(place: Path) -> bool:
    """Whether there is a file, or nothing yet: renaming would put a file in the place of all else,
    of ``/dev/null`` too."""
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except OSError:
        return True


def _as_accessible_as(former: Path, finished: Path) -> None:
    """Who may read and write a file, may do so with the one that takes its place."""
    if os.name != "posix":
        return
    with suppress(OSError):
        known = former.stat()
        with suppress(OSError):  # to a group that one is in oneself
            os.chown(finished, -1, known.st_gid)
        with suppress(OSError):  # only root may give files away
            os.chown(finished, known.st_uid, -1)
        os.chmod(finished, stat.S_IMODE(known.st_mode))


def _patiently(rename: Callable[[Any, Any], None], old: Path, new: str) -> None:
    """Windows renames no file, and over none, that anybody has open: a virus scanner for a moment,
    or this thread, which has looked at it."""
    deadline = time.monotonic() + (_PATIENCE if os.name == "nt" else 0)
    while True:
        try:
            return rename(old, new)
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            close_all()
            time.sleep(0.1)


def _sync_folder(folder: Path) -> None:
    """The name has been given; where a file system can't make sure of it, or a folder may not be
    read, there is nothing more to do."""
    if os.name == "posix":
        with suppress(OSError):
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
