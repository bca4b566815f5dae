"""What Python code calls: `nl.run` and `nl.load`."""
