"""Which runtime computes a network, and in which precision. Nothing heavy is imported here.

The rule, in full: ``auto`` is torch in every precision, since nothing that was measured is faster
by more than a measurement is worth (``docs/performance.md``). It never depends on the scene.
Pictures of the two may differ by one level in a few pixels per million; that is why a picture's
tags name the runtime and a run can't be resumed with the other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from nirgeo.errors import OptionError
from nirgeo.plaintext import plain

TORCH = "torch"
ONNX = "onnx"
AUTO = "auto"
RUNTIMES = (AUTO, TORCH, ONNX)

FP32 = "fp32"
FP16 = "fp16"
INT8 = "int8"
PRECISIONS = (FP32, FP16, INT8)

_PACKAGES = ("onnx", "onnxruntime")
_REMEDY = "install the extra with `pip install 'nirgeo[onnx]'`"


@dataclass(frozen=True)
class Runtime:
    """What was chosen. The default is the reference that all exactness is measured against."""

    name: str = TORCH
    precision: str = FP32

    def identity(self) -> dict[str, str]:
        """What must be equal for equal pixels; the runtime's version too, as torch's is."""
        if self.name == TORCH:
            return {"runtime": TORCH} | self._not_the_reference()
        return {"runtime": f"onnxruntime {version('onnxruntime')}", "precision": self.precision}

    def provenance(self) -> dict[str, str]:
        """What an output says: nothing where it is the reference."""
        if self.name == TORCH:
            return self._not_the_reference()
        return {"runtime": "ONNX Runtime", "precision": self.precision}

    def _not_the_reference(self) -> dict[str, str]:
        return {} if self.precision == FP32 else {"precision": self.precision}

    def describe(self) -> str:
        if self.name == TORCH:
            return f"torch {version('torch')}, {self.precision}"
        return f"ONNX Runtime {version('onnxruntime')}, {self.precision}"


REFERENCE = Runtime()


def check_device(device: str) -> None:
    """Whether there is one is asked where the network runs, which may be another machine.

    Raises
    ------
    OptionError : torch knows no device of such a name
    """
    from torch import device as named

    from nirgeo.lanes import has_lane

    if has_lane(device):
        return
    try:
        named(device)
    except RuntimeError as error:
        reason = plain(str(error).partition("\n")[0], 100)
        raise OptionError(f"--device {device}: not available ({reason})") from error


def choose_runtime(runtime: str = TORCH, precision: str = FP32, device: str = "cpu") -> Runtime:
    """The runtime that is meant by these options.

    Raises
    ------
    OptionError : no such name; the extra is not installed; or the device or the precision is one
        that the runtime does not have
    """
    if runtime not in RUNTIMES:
        raise OptionError(f"--runtime {runtime}: there are {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise OptionError(f"--precision {precision}: there are {', '.join(PRECISIONS)}")
    on_cpu = device.partition(":")[0] == "cpu"
    if precision == FP16:
        if runtime == ONNX or on_cpu:
            where = "ONNX Runtime" if runtime == ONNX else "a CPU, where it is slower than fp32"
            raise OptionError(f"--precision fp16 is for a GPU (--device cuda), not for {where}")
        return Runtime(TORCH, FP16)
    if (runtime == ONNX or precision == INT8) and not on_cpu:
        what = "--precision int8" if precision == INT8 else "--runtime onnx"
        raise OptionError(f"{what} is for the CPU; with --device {device} leave it away")
    if runtime != ONNX:
        return Runtime(TORCH, precision)
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise OptionError(f"--runtime onnx needs {' and '.join(missing)}; {_REMEDY}")
    return Runtime(ONNX, precision)


def installed_version(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
