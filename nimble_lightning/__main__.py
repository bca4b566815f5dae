"""`python -m nimble_lightning trainer=my_trainer.py`."""

from __future__ import annotations

import sys

from nimble_lightning.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
