"""Steps a second beside other ways to train, and what the parts of ours cost. Run by hand: `make bench`."""
