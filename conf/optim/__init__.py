"""The optimizers to choose from: `optim=adamw`."""
