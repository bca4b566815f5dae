"""The cluster that a run is a job of."""
