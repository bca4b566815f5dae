"""What is asked of a run, held against what it was before and what it needs."""
