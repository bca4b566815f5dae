"""What Hydra calls: the task of one run, launchers and sweepers."""
