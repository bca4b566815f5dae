"""What a checkpoint may hold, and how objects become values that load without code."""
