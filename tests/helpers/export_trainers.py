"""Trainers of the kinds of model that are exported; each learns for a second at most."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nimble_lightning import NimbleTrainer


def made(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class Mlp(NimbleTrainer):
    shape: tuple[int, ...] = (8,)

    def pre_process(self, *, lr: float = 1e-2):
        self.lr = lr
        x = made(24, *self.shape)
        self.train_data = self.eval_data = (x, (x.flatten(1).sum(-1) > 0).long())
        self.model = self.build()

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))

    def train(self, batch):
        x, y = batch
        return cross_entropy(self.model(x), y)

    def evaluate(self, batch):
        x, y = batch
        return {"accuracy": self.model(x).argmax(-1) == y}


class Cnn(Mlp):
    shape = (1, 8, 8)

    def build(self) -> nn.Module:
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(64, 2))


class Tied(nn.Module):
    """Predicts the next token with the weights it embeds with."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 32, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return {"logits": self.head(torch.tanh(self.mix(self.embed(ids)))), "cache": None}


class Tokens(NimbleTrainer):
    """Texts of whole numbers, half of them padded."""

    def pre_process(self, *, lr: float = 1e-2):
        self.lr = lr
        ids = torch.randint(5, 32, (24, 10), generator=torch.Generator().manual_seed(1))
        mask = torch.ones_like(ids)
        mask[::2, 7:] = 0
        self.train_data = self.eval_data = [
            {"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)
        ]
        self.model = self.build()

    def build(self) -> nn.Module:
        return Tied()

    def collate(self, samples):
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def logits(self, batch):
        return self.model(batch["input_ids"])["logits"]

    def train(self, batch):
        return cross_entropy(self.logits(batch)[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())

    def evaluate(self, batch):
        return {"loss": self.train(batch)}


SMALL = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}


class Decoder(Tokens):
    def build(self) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        self.tokenizer = tokenizer()
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
        return LlamaForCausalLM(LlamaConfig(**SMALL, **heads))

    def logits(self, batch):
        return self.model(**batch).logits


class Encoder(Tokens):
    def build(self) -> nn.Module:
        from transformers import BertConfig, BertForSequenceClassification

        limits = {"max_position_embeddings": 16, "num_attention_heads": 4}
        return BertForSequenceClassification(BertConfig(**SMALL, **limits))

    def train(self, batch):
        labels = batch["input_ids"][:, 0] % 2
        return self.model(**batch, labels=labels).loss


class Two(Mlp):
    """Two models, a frozen teacher and a metric: two exports."""

    def build(self) -> nn.Module:
        from torchmetrics import MeanMetric

        self.mean = MeanMetric()
        self.teacher = nn.Linear(8, 2).requires_grad_(False)
        self.body = nn.Linear(8, 4)
        return nn.Linear(4, 2)

    def train(self, batch):
        x, y = batch
        return cross_entropy(self.model(self.body(x)) + self.teacher(x), y)

    def evaluate(self, batch):
        return {"loss": self.train(batch)}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "hello": 5, "world": 6}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
