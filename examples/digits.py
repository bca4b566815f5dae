"""Handwritten digits from four methods: scikit-learn's real scans, a small convolutional net, over 97 %.

    python -m nimble_lightning trainer=examples/digits.py
    python -m nimble_lightning trainer=examples/digits.py params.channels=16 lightning.max_epochs=5

The keywords of `pre_process` are the settings: `--help` lists them, and a misspelt one is refused.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

from nimble_lightning import NimbleTrainer


class Digits(NimbleTrainer):
    """A small convolutional network that reads digits of 8 x 8 pixels."""

    def pre_process(self, *, channels: int = 32, dropout: float = 0.2, lr: float = 3e-3):
        self.lr = lr
        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        parts = train_test_split(images, torch.tensor(labels), test_size=0.2, random_state=0, stratify=labels)
        train_images, self.eval_images, train_labels, eval_labels = parts
        self.train_data = train_images, train_labels
        self.eval_data = self.eval_images, eval_labels
        self.model = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels * 16, 10),
        )

    def train(self, batch):
        images, labels = batch
        return cross_entropy(self.model(images), labels)

    def evaluate(self, batch):
        images, labels = batch
        logits = self.model(images)
        return {
            "accuracy": logits.argmax(-1) == labels,
            "loss": cross_entropy(logits, labels, reduction="none"),
        }

    def predict_and_show(self):
        images = self.eval_images[:3]
        digits = self.model(images.to(next(self.model.parameters()).device)).argmax(-1)
        for image, digit in zip(images, digits.tolist(), strict=True):
            yield f"read as {digit}", drawn(image[0])


def drawn(image):
    """The image in characters, two to a pixel."""
    return "\n".join("".join(2 * " .:-=+*#%@"[int(ink * 9)] for ink in row) for row in image.tolist())
