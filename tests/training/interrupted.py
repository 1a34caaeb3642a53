"""A training that kills itself: ``python -m tests.training.interrupted FOLDER N``.

It is killed by SIGKILL after it has written its Nth checkpoint, as by a cluster's scheduler.
"""

import os
import signal
import sys
from pathlib import Path

from autolens_ml.training.train import Hardware, train
from tests.training.small import preset


def main() -> None:
    """Train until the kill, or to the end if it does not come."""
    folder, n_checkpoints = Path(sys.argv[1]), int(sys.argv[2])
    replace = os.replace
    written = []

    def replaced(source, target):
        replace(source, target)
        written.extend([target] if str(target).endswith(".ckpt") else [])
        if len(written) == n_checkpoints:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replaced
    train(preset(), folder, Hardware(accelerator="cpu", devices=1, precision="32-true"))


if __name__ == "__main__":
    main()
