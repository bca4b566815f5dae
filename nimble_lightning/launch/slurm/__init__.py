"""Runs as jobs of Slurm: handed to it on a login node, supervised in the allocation."""
