"""The learning-rate schedules to choose from: `schedule=cosine`."""
