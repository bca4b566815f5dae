"""What batch scripts start that were handed to Slurm before `nimble_lightning.launch.slurm` had its name."""
