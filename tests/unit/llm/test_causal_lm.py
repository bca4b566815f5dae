from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.llm.causal_lm import place_of


def test_a_model_is_a_folder_else_a_name_we_know_else_one_of_the_hub() -> None:
    assert place_of("qwen3-0.6b") == "Qwen/Qwen3-0.6B"
    assert place_of("org/model") == "org/model"
    Path("qwen3-0.6b/best").mkdir(parents=True)
    assert place_of("qwen3-0.6b") == "qwen3-0.6b/best"
    with pytest.raises(RequestError, match="no such folder"):
        place_of("./qwen4")
