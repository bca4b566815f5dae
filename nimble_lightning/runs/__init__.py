"""One run in its folder, whoever runs it."""
