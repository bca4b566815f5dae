"""Who runs a job: chosen in one place, each way in a module of its own."""
