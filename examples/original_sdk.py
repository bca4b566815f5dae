"""A file as written for the original SDK: four methods taking `**kwargs`, `train` doing all by itself.

    nimble-cli train examples/original_sdk.py --GPU_info --notification --auto_retry --report_usage

There is no package called NimbleSDK to install: the import is answered while the file is loaded.
"""

import torch
from NimbleSDK import NimbleTrainer
from sklearn.datasets import load_iris
from torch import nn


class IrisTrainer(NimbleTrainer):
    """A trainer written for the original NimbleSDK: `train` is the whole loop."""

    def pre_process(self, **kwargs):
        features, species = load_iris(return_X_y=True)
        x = torch.tensor(features, dtype=torch.float32)
        self.x = (x - x.mean(0)) / x.std(0)
        self.y = torch.tensor(species)
        self.names = load_iris().target_names
        self.held_out = torch.randperm(150, generator=torch.Generator().manual_seed(0)) < 30

    def train(self, **kwargs):
        self.model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.Adam(self.model.parameters(), lr=0.02)
        for _ in range(200):
            loss = nn.functional.cross_entropy(self.model(self.x[~self.held_out]), self.y[~self.held_out])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self.model

    def evaluate(self, **kwargs):
        guessed = self.model(self.x[self.held_out]).argmax(-1)
        return {"accuracy": (guessed == self.y[self.held_out]).float().mean().item()}

    def predict_and_show(self, **kwargs):
        flowers = self.x[self.held_out][:3]
        return [f"a flower called {self.names[i]}" for i in self.model(flowers).argmax(-1)]
