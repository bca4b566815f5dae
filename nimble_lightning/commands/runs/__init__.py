"""Commands about runs that are there: list, show, compare, remove, watch and stop them."""
