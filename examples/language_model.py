"""A tiny GPT-2 from Hugging Face, made from a configuration and trained on Python's own standard library.

    python -m nimble_lightning trainer=examples/language_model.py lightning.max_epochs=1
    python -m nimble_lightning trainer=examples/language_model.py params.layers=4 data.micro_batch_size=8

Texts have different lengths, so a batch's loss is a mean over its tokens. `train` says how many those
are: however a batch is split up, and over however many devices, each token weighs the same.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import MeanMetric
from transformers import GPT2Config, GPT2LMHeadModel

from nimble_lightning import NimbleTrainer

END = 0
IGNORED = -100


class CharacterModel(NimbleTrainer):
    """A small GPT-2 that writes Python functions character by character."""

    def pre_process(
        self, *, layers: int = 2, width: int = 64, longest: int = 96, functions: int = 1200, lr: float = 3e-3
    ):
        self.lr = lr
        texts = definitions(longest)[:functions]
        self.train_data, self.eval_data = texts[functions // 10 :], texts[: functions // 10]
        # A mean over tokens; what evaluate returns as plain values is averaged over samples.
        self.token_loss = MeanMetric()
        self.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=128,
                n_positions=longest + 1,
                n_embd=width,
                n_layer=layers,
                n_head=4,
                bos_token_id=END,
                eos_token_id=END,
            )
        )

    def collate(self, texts):
        ids = [torch.tensor([END, *text.encode(), END]) for text in texts]
        labels = pad_sequence(ids, batch_first=True, padding_value=IGNORED)
        return {
            "input_ids": labels.clamp(min=END),
            "attention_mask": (labels != IGNORED).long(),
            "labels": labels,
        }

    def train(self, batch):
        return self.model(**batch).loss, tokens(batch)

    def evaluate(self, batch):
        logits = self.model(**{k: v for k, v in batch.items() if k != "labels"}).logits[:, :-1]
        wanted = batch["labels"][:, 1:]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
        self.token_loss.update(losses[wanted.flatten() != IGNORED])
        return {"loss": self.token_loss}

    def predict_and_show(self):
        device = next(self.model.parameters()).device
        for start in ("def ", "class ", "    return "):
            ids = torch.tensor([[END, *start.encode()]], device=device)
            written = self.model.generate(ids, max_new_tokens=40, do_sample=False, pad_token_id=END)
            yield f"continuing {start!r}", bytes(written[0, 1:].tolist()).decode(errors="replace")


def tokens(batch):
    """How many tokens of the batch are predicted: all but the first of each text."""
    return (batch["labels"][:, 1:] != IGNORED).sum()


def definitions(longest):
    """Lines of the standard library that define something, in an order that is the same everywhere."""
    found = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.lstrip().startswith(("def ", "class ", "return ")) and line.isascii():
                found.add(line[: longest - 1])
    return sorted(found, key=lambda line: (hash_of(line), line))


def hash_of(line):
    """A shuffle that needs no random numbers."""
    return sum((i + 1) * byte for i, byte in enumerate(line.encode())) * 2654435761 % 2**32
