"""Baselines: simple colourisers that a model must beat, all with one small interface.

``BASELINES[name].fit(samples, quantity).predict(inputs, valid, context)``.
"""

from nirgeo.baselines.interface import Baseline, Context, Patch, Sample, samples_from
from nirgeo.baselines.storage import BASELINES, load_baseline, save_baseline

__all__ = [
    "BASELINES",
    "Baseline",
    "Context",
    "Patch",
    "Sample",
    "load_baseline",
    "samples_from",
    "save_baseline",
]
