"""Options that several commands share, spelt alike and explained once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from nirgeo.bands import ROLES
from nirgeo.cli.reporting import MODES
from nirgeo.errors import OptionError
from nirgeo.runtimes.choice import FP16, FP32, PRECISIONS, RUNTIMES, TORCH

if TYPE_CHECKING:
    from distributed import Client

    NumberType = click.ParamType[float]
    PairType = click.ParamType[tuple[str, str]]
else:  # at run time only newer versions of click can be told what a type gives
    NumberType = PairType = click.ParamType

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class NumberOrNan(NumberType):
    """A number, or ``nan``."""

    name = "VALUE|nan"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is neither a number nor 'nan'", param, ctx)


class KeyValue(PairType):
    """``KEY=VALUE`` as a pair."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not equals or not key or not rest:
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return key, rest


def _compose(*decorators: Decorator) -> Decorator:
    def apply(command: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


band_options = _compose(
    click.option("--nir", metavar="BAND", help="Near-infrared band: number or name."),
    click.option("--red", metavar="BAND", help="Red band, for models that use it."),
    click.option("--green", metavar="BAND", help="Green band, for models that use it."),
    click.option(
        "--stack",
        multiple=True,
        type=KeyValue("ROLE=FILE"),
        metavar="ROLE=FILE",
        help="A band in a file of its own, e.g. nir=B08.jp2. Repeatable.",
    ),
)

radiometry_options = _compose(
    click.option(
        "--scale",
        metavar="GAIN[,OFFSET]|FILE",
        help="Digital numbers to reflectance, or a file made by nirgeo whose scaling to use.",
    ),
    click.option(
        "--nodata",
        type=NumberOrNan(),
        help="Value of missing pixels, for files that do not say.",
    ),
)

model_option = click.option(
    "--model",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="A shipped model (see `nirgeo models`), baseline/NAME, or a file.",
)

output_kind_option = click.option(
    "--as",
    "as_",
    type=click.Choice(["display", "reflectance"]),
    default="display",
    show_default=True,
    help="8-bit picture, or float32 reflectance (0-1), of models for reflectance.",
)

prior_option = click.option(
    "--no-prior", is_flag=True, help="Do not use the known colour of the land at the scene's place."
)

uncertainty_option = click.option(
    "--uncertainty", is_flag=True, help="A fourth band: how many degrees off a colour may be."
)

bounds_option = click.option(
    "--bounds",
    nargs=4,
    type=float,
    metavar="W S E N",
    help="Only this part, in the scene's CRS; snapped to whole pixels.",
)

chunk_option = click.option(
    "--chunk",
    type=int,
    metavar="TILES",
    help="Side of a chunk in tiles of 64 px.  [default: 12; 8 for wide networks and ONNX Runtime; "
    "16 on a GPU]",
)

_BUDGET = "Stay within this, e.g. 600M or 2G: chunk and workers follow, unless they are given."

memory_option = click.option(
    "--memory",
    metavar="SIZE",
    help=f"{_BUDGET} With --scheduler it is what one worker has.",
)

memory_option_of_info = click.option("--memory", metavar="SIZE", help=_BUDGET)

output_options = _compose(
    click.option(
        "--co",
        "creation_options",
        multiple=True,
        type=KeyValue("KEY=VALUE"),
        metavar="KEY=VALUE",
        help="Creation option of GDAL's COG driver. Repeatable.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing output."),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an interrupted run, with the scenes and chunks that are missing; keep "
        "finished chunks if this one is interrupted.",
    ),
)

progress_option = click.option(
    "--progress",
    type=click.Choice(MODES),
    default="bar",
    show_default=True,
    help="How to show progress; jsonl writes one JSON object per line to stdout.",
)

progress_options = _compose(
    progress_option,
    click.option("--quiet", "-q", is_flag=True, help="No messages, no bar; errors only."),
    click.option("--verbose", "-v", is_flag=True, help="Show tracebacks."),
)

workers_option = click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Threads, or processes.  [default: all cores; 8 on a GPU]",
)

scheduler_option = click.option(
    "--scheduler",
    metavar="processes|ADDR|FILE",
    help="Who computes in place of threads: processes, for large scenes on many cores; or a dask "
    "cluster, as tcp://HOST:PORT or a scheduler file. Of several scenes each of its workers writes "
    "its own.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where the network runs: auto, cpu, cuda, cuda:1, mps.",
)

_runtime_option = click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=TORCH,
    show_default=True,
    help="What computes the network. onnx: a level apart from torch in a few pixels. auto: the "
    "one that is as fast as any, torch.",
)

_INT8_HELP = (
    "int8: 1.2 to 2.2 times as fast on a CPU, file to file, colours slightly off (see the model's "
    "card)."
)


def _precision_option(names: Sequence[str], text: str) -> Decorator:
    return click.option(
        "--precision", type=click.Choice(names), default=FP32, show_default=True, help=text
    )


runtime_options = _compose(
    _runtime_option,
    _precision_option(PRECISIONS, f"fp16: on a GPU, a trunk in 16 bits. {_INT8_HELP}"),
)

runtime_options_of_info = _compose(
    _runtime_option, _precision_option([each for each in PRECISIONS if each != FP16], _INT8_HELP)
)


sides_options = _compose(
    click.option(
        "--validation",
        multiple=True,
        required=True,
        metavar="FOLDER",
        help="Scenes of other places, to judge by. Repeatable.",
    ),
    click.option("--index", metavar="CSV", help="Table with columns file, group (place), level."),
    click.option("--level", "levels", multiple=True, help="Only scenes of this level. Repeatable."),
    click.option(
        "--validation-level",
        "validation_levels",
        multiple=True,
        metavar="TEXT",
        help="Validation scenes of this level instead. Repeatable.  [default: as --level]",
    ),
    click.option(
        "--without",
        multiple=True,
        metavar="PLACE",
        help="Learn nothing from this place. Repeatable.",
    ),
)


training_device_options = _compose(
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option(
        "--loaders",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Processes that draw patches ahead; a GPU waits for patches without some.",
    ),
)


def stacked(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Files of --stack by role.

    Raises
    ------
    OptionError : a role that there is not, or one that is given twice
    """
    for role, file in pairs:
        if role not in ROLES:
            raise OptionError(f"--stack {role}={file}: the roles are {', '.join(ROLES)}")
        if sum(other == role for other, _ in pairs) > 1:
            raise OptionError(f"--stack {role}: given more than once")
    return dict(pairs)


def resolve_device(device: str, client: Client | None = None) -> str:
    """``auto`` is the first CUDA GPU if there is one, of a cluster's workers if they compute."""
    if device != "auto":
        return device
    if client is not None:
        from nirgeo.cluster import has_gpus

        return "cuda" if has_gpus(client) else "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
