"""What batch scripts of old start on every node."""

import os
import sys
from warnings import warn

from nimble_lightning.launch.slurm.__main__ import again_when_killed

if __name__ == "__main__":
    warn(
        "nimble_lightning.runtime.slurm is nimble_lightning.launch.slurm now",
        DeprecationWarning,
        stacklevel=1,
    )
    sys.exit(again_when_killed(os.path.join(*sys.argv[1:])))
