"""What may be typed, with which types: read from source, never imported."""
