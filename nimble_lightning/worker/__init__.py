"""One process of an attempt: prepares, trains, evaluates, shows."""
