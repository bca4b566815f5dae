"""A run's model as files: `best/` when it ends, anything else by `nimble-cli export`."""
