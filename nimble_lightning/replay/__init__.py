"""Verification by training stretches of a signed run again."""
