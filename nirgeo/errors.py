"""Every failure nirgeo reports, under one base class; and what it only warns of.

A message names what is wrong, the value seen and what to do about it. ``code`` is the stable
identifier that front ends receive in the JSON ``error`` event; ``option`` the command line's option
that an error of this kind is about where its message names none. Each class also inherits from the
builtin that a caller of a plain Python function would expect to catch.
"""


class NirgeoError(Exception):
    """Base of every error raised on purpose by nirgeo."""

    code = "error"
    option: str | None = None


class SourceError(NirgeoError, OSError):
    """A scene can't be opened or read: not a raster, truncated, or gone."""

    code = "source-unreadable"


class ServerError(SourceError):
    """A server has stopped to send a scene while it was read. What was done is kept."""


class GridError(NirgeoError, ValueError):
    """Bands or windows do not share a grid, or a window lies outside the scene."""

    code = "grid-mismatch"


class BandError(NirgeoError, ValueError):
    """No band can serve a role, or the band asked for does not exist."""

    code = "band-not-found"


class RadiometryError(NirgeoError, ValueError):
    """Values can't be brought to the quantity that a model eats."""

    code = "radiometry"


class EmptySceneError(NirgeoError, ValueError):
    """A scene has no valid pixel."""

    code = "scene-empty"


class ModelError(NirgeoError, ValueError):
    """A model file is damaged, of another kind, or does not fit the scene."""

    code = "model-unusable"
    option = "--model"


class UnknownModelError(NirgeoError, LookupError):
    """No shipped model has this name and no file has this path."""

    code = "model-unknown"
    option = "--model"


class OptionError(NirgeoError, ValueError):
    """An option has a value that can't be used."""

    code = "option"


class TargetError(NirgeoError, OSError):
    """The output can't be written: no permission, no space, no such folder."""

    code = "target-unwritable"
    option = "--output"


class TargetExistsError(NirgeoError, FileExistsError):
    """The output exists and overwriting was not asked for."""

    code = "target-exists"


class TargetLockedError(NirgeoError, BlockingIOError):
    """Another run is writing the same output."""

    code = "target-locked"
    option = "--output"


class ResumeError(NirgeoError, ValueError):
    """An interrupted run was made from another scene, model or option."""

    code = "resume-mismatch"


class ClusterError(NirgeoError, ConnectionError):
    """A dask cluster can't be reached, is gone, or can't do the work. What was done is kept."""

    code = "cluster"
    option = "--scheduler"


class DeviceMemoryError(NirgeoError, MemoryError):
    """A block does not fit into the memory of a GPU."""

    code = "device-memory"
    option = "--chunk"


class TrainingError(NirgeoError, ValueError):
    """Training data or a training configuration can't be used."""

    code = "training"


class EvaluationError(NirgeoError, ValueError):
    """An evaluation can't be made, or would not measure what it says it measures."""

    code = "evaluation"


class BandWarning(UserWarning):
    """A band was taken for near infrared although its label says that it is something else."""
