"""One contestant in this process: ``python -m benchmarks.peers.one NAME SCENE TARGET MODEL``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.peers.contestants import CONTESTANTS
from nirgeo.modelfile import Model
from nirgeo.networks import network
from nirgeo.registry import load_model


def main() -> None:
    name, scene, target, model_name = sys.argv[1:]
    model = load_model(model_name)
    assert isinstance(model, Model)
    net = network(model)  # what is loaded once is not what is compared
    with torch.inference_mode():
        net(torch.zeros(2, 1, 64, 64), torch.ones(2, 1, 64, 64))
    wall, cpu = time.perf_counter(), time.process_time()
    CONTESTANTS[name](Path(scene), Path(target), model)
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
