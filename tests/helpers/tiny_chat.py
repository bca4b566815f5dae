"""A tokenizer trained on the spot, a model of a few thousand parameters, and conversations for them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = [
    "red",
    "blue",
    "green",
    "one",
    "two",
    "cat",
    "dog",
    "bird",
    "sees",
    "likes",
    "the",
    "a",
    "who",
    "why",
]


def tokenizer(template: str | None = CHATML, special: Sequence[str] = SPECIAL, **more: Any) -> Any:
    """Byte-level, so that nothing is unknown; answers end with `<|im_end|>`."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=list(special), show_progress=False
    )
    made.train_from_iterator([" ".join(_WORDS)] * 3, trainer)
    words = {"eos_token": special[-1], "pad_token": special[0], **more}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, **words)


def model(kind: str = "llama", vocabulary: int = 400, **more: Any) -> Any:
    """Two layers of 32."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    known = {**sizes, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": vocabulary}
    config = AutoConfig.for_model(kind, **{**known, "max_position_embeddings": 512, **more})
    config.bos_token_id = config.pad_token_id = 0
    config.eos_token_id = 2
    return AutoModelForCausalLM.from_config(config)


def save(folder: Path, kind: str = "llama", **more: Any) -> Path:
    """A folder for `from_pretrained`."""
    words = tokenizer()
    model(kind, len(words), **more).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def teach(taught: Any, texts: Sequence[Sequence[int]], steps: int = 4) -> None:
    """Make texts likelier to a model than they were."""
    optimizer = torch.optim.AdamW(taught.parameters(), lr=3e-3)
    for _ in range(steps):
        for text in texts:
            ids = torch.tensor([list(text)])
            taught(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def conversations(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Of one to three questions, each answered by itself spelt backwards."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        messages = []
        for _ in range(chance.randint(1, 3)):
            asked = " ".join(chance.choices(_WORDS, k=chance.randint(1, 6)))
            said = " ".join(reversed(asked.split()))
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        found.append({"messages": messages})
    return found


def write(path: Path, rows: Sequence[Any]) -> Path:
    """One a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
