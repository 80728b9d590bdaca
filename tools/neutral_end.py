"""Let a network of the near infrared turn to white beyond what its training held.

    python tools/neutral_end.py MODEL FILE

See nirgeo/training/bright_end.py. FILE is a model like any other, without expected errors: those
are `nirgeo calibrate`'s to learn anew.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from usage import arguments

from nirgeo.generator import GeneratorConfig
from nirgeo.modelfile import Model, write_model
from nirgeo.networks import load_generator
from nirgeo.registry import load_model
from nirgeo.training.bright_end import make_neutral


def main(name: str, target: Path) -> None:
    model = load_model(name)
    if not isinstance(model, Model):
        sys.exit(f"{name} is no network")
    network = load_generator(model)
    make_neutral(network)
    shape = replace(GeneratorConfig(**dict(model.spec.generator)), expects_error=False)
    state = network.state_dict()
    tensors = {key: state[key].numpy() for key in shape.tensor_shapes()}
    write_model(target, replace(model.spec, generator=shape.to_json(), uncertainty=None), tensors)


if __name__ == "__main__":
    name, target = arguments(__doc__)
    main(name, Path(target))
