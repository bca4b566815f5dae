"""A plan of pretraining needs the sizes of a model and no weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_chat
from transformers import AutoConfig

from nimble_lightning.commands import main
from nimble_lightning.validators.models import models

SIZES = json.loads((Path(__file__).parents[1] / "contract/model_sizes.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["smollm2-135m", "llama3.2-1b", "gemma3-1b"])
def test_what_a_model_is_said_to_take_is_what_a_plan_says(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, sizes = SIZES[family]
    AutoConfig.for_model(kind, **sizes).save_pretrained("sizes")
    tiny_chat.save(Path("tiny"))
    tiny_chat.write(Path("texts.jsonl"), [{"text": "the cat " * 300}] * 20)
    words = ("recipe=any/pretrain", "params.config=sizes", "params.tokenizer=tiny", "data=texts.jsonl")
    small = ("params.length=128", "data.batch_size=1", "data.num_workers=0", "--device", "H100", "--json")
    capsys.readouterr()
    assert main.main(["plan", *words, *small]) == 0
    found = json.loads(capsys.readouterr().out)
    told = models.about(family)
    assert found["parameters"] == told.parameters
    assert told.bytes_whole is not None
    peak = found["recommended"]["peak"]
    assert told.bytes_whole < peak < 1.35 * told.bytes_whole, "activations of a short row come on top"
