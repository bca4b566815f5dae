from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.loggers import TrackioLogger


@pytest.mark.skipif(find_spec("trackio") is not None, reason="trackio is installed")
def test_without_trackio_the_error_names_the_line_to_type() -> None:
    with pytest.raises(RequestError, match=r"pip install 'nimble-lightning\[trackio\]'"):
        TrackioLogger("mine")
    assert "trackio" not in sys.modules
