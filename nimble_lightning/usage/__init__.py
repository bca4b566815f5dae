"""The account of a run: what it took, where the time went, what it cost. Knows no trainer."""
