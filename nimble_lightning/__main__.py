"""`python -m nimble_lightning trainer=my_trainer.py`."""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    # Importing makes many objects and no garbage; looking for that is a seventh of the time it takes.
    gc.set_threshold(100_000)
    from nimble_lightning.cli import prestart
    from nimble_lightning.terminal.streams import open_missing

    open_missing()
    prestart.begin(sys.argv[1:])
    from nimble_lightning.cli.app import main

    code = main()
    # Python would look for garbage once more before it ends, in all that torch brought along: half a second.
    gc.freeze()
    sys.exit(code)
