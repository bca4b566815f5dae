"""Drawings as inline SVG: they know numbers and words, nothing of runs."""
