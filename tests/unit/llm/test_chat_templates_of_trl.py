"""The templates of models that TRL has collected: each is read right, or refused in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_chat

from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder
from nimble_lightning.llm.packing import IGNORED

trl = pytest.importorskip("trl")

pytestmark = pytest.mark.slow

FOLDER = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))
_SPECIAL = re.compile(r"<[|｜][^<>]{1,40}[|｜]>|<\|?(?:\w+_of_\w+|turn|channel)\|?>|</s>")
# With what each family ends an answer; most do as ChatML.
_ENDS = {
    **dict.fromkeys(("gemma4", "diffusion_gemma"), "<turn|>"),
    **dict.fromkeys(("idefics3", "smolvlm"), "<end_of_utterance>"),
    **{"cohere": "<|END_OF_TURN_TOKEN|>", "deepseek": "<｜end▁of▁sentence｜>", "gemma": "<end_of_turn>"},
    **{"glm4moe": "<|user|>", "gptoss": "<|return|>", "llama3": "<|eot_id|>", "phi3": "<|end|>"},
    **{"llava": "</s>", "muse": "<|eot|>"},
}
# Each for its reason: asked inside a thought that is written nowhere; no end; pictures only.
REFUSED = {
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), "written|writes it differently"),
    **dict.fromkeys(
        (f"nemotron_3_{kind}" for kind in ("5_lightning", "nano", "super", "ultra")), "differently"
    ),
    **{"glm4moe": "never learn to stop", "idefics3": "leaves out", "smolvlm": "leaves out"},
    "llava_next": "refuses it",
}
TALK = [
    {"role": "user", "content": "hello there"},
    {"role": "assistant", "content": "general greeting"},
    {"role": "user", "content": "what now?"},
    {"role": "assistant", "content": "the answer is 42."},
]


def words_for(template: str, name: str) -> Any:
    end = next((end for family, end in _ENDS.items() if name.startswith(family)), "<|im_end|>")
    found = [text for text in dict.fromkeys(_SPECIAL.findall(template)) if text != end]
    return tiny_chat.tokenizer(template, ["<s>", *found, end], pad_token=end, bos_token="<s>")


def test_there_are_all_of_them() -> None:
    assert len(TEMPLATES) >= 41


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_learns_the_answers_and_their_ends_or_says_why_not(name: str) -> None:
    words = words_for((FOLDER / f"{name}.jinja").read_text(), name)
    if name in REFUSED:
        with pytest.raises(BadConversation, match=REFUSED[name]):
            ChatEncoder(words)(TALK)
        return
    examples = ChatEncoder(words)(TALK)
    end, said = words.eos_token, ["general greeting", "the answer is 42."]
    found = "".join(words.decode([t for t in e.labels if t != IGNORED]) for e in examples)
    # Between them only what the template itself writes in an answer: channels, thoughts, addressees.
    kept = re.sub(r"<\|[^|]*\|>|</?think>|\s|to=user|final", "", found.replace(end, "#"))
    assert kept == "generalgreeting#theansweris42.#", found
    assert [found.count(text + e) for text in said for e in _ends(name, end)] == [1, 1]
    asked = "".join(
        words.decode([i for i, t in zip(e.ids, e.labels, strict=True) if t == IGNORED]) for e in examples[-1:]
    )
    assert "what now?" in asked
    assert "the answer is 42." not in asked


@pytest.mark.parametrize("name", [n for n in TEMPLATES if (FOLDER / f"{n}_training.jinja").exists()])
def test_where_trl_marks_answers_by_hand_ours_are_within_its_marks(name: str) -> None:
    if name in REFUSED:
        pytest.skip("refused")
    words = words_for((FOLDER / f"{name}.jinja").read_text(), name)
    examples = ChatEncoder(words)(TALK)
    words.chat_template = (FOLDER / f"{name}_training.jinja").read_text()
    theirs = words.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    if len(examples) > 1 or theirs["input_ids"] != examples[0].ids:
        pytest.skip("TRL's copy of the template writes another text")
    (ours,) = examples
    marked = [bool(m) for m in theirs["assistant_masks"]]
    assert all(m for label, m in zip(ours.labels, marked, strict=True) if label != IGNORED)
    more = words.decode(
        [i for i, t, m in zip(ours.ids, ours.labels, marked, strict=True) if m and t == IGNORED]
    )
    # TRL learns what stands behind the end as well, and of some templates what is written for the model.
    assert re.sub(r"<\|start\|>assistant|<\|end\|>|<think>|\s", "", more) == "", more


def _ends(name: str, end: str) -> list[str]:
    return [f"<|END_RESPONSE|>{end}"] if name == "cohere2" else [end]
