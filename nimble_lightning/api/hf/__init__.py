"""The Trainer of transformers on our engine."""
