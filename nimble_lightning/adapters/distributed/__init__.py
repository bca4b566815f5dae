"""How the ranks of a fit work on a step together, one way for each strategy."""
