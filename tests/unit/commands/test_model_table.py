from __future__ import annotations

import json

import pytest

from nimble_lightning.commands import main
from nimble_lightning.errors import RequestError
from nimble_lightning.validators.models import models


def test_models_are_listed_and_filtered_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["models"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len(lines) == 2 * len(models) + 1
    assert max(map(len, lines)) <= 80
    assert main.main(["models", "Qwen3", "4b"]) == 0
    said = capsys.readouterr().out
    assert "4.02 B" in said
    assert "qwen3_4b/sft,lora,dpo" in said
    assert "llama" not in said
    assert "Activations come on top" in said


def test_memory_is_that_of_weights_gradients_and_optimizer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["models", "smollm2-135m-instruct", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 134_515_008
    assert found["bytes_whole"] == 16 * 134_515_008
    assert found["bytes_adapter"] == 4 * 134_515_008 + 16 * found["adapter"]
    assert found["recipes"] == [f"smollm2_135m/{task}" for task in ("sft", "lora", "dpo", "kto", "reward")]


def test_what_nothing_is_called_like_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["models", "qwenn"]) == 2
    assert "no model is called like qwenn" in capsys.readouterr().err
    with pytest.raises(RequestError, match="did you mean qwen3-4b"):
        models.about("qwen3-4bb")
