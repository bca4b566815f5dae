"""Runs side by side: their scheduler, and what they came to."""
