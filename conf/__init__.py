"""The Hydra configuration, importable as `nimble_lightning.conf`."""
