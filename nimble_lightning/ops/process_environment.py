"""By which variables of the environment processes of ours know each other."""

from __future__ import annotations

# Set in our own workers: they know their ranks by variables that launchers set as well, and what they load
# may start no runs.
IN_WORKER = "NIMBLE_WORKER"
# The name of the run, by which a script that `nimble-cli retry` starts again finds its own checkpoints.
RUN = "NIMBLE_RETRY_RUN"
# A folder in which the script leaves notes: where it commits, and what an exit code cannot say.
NOTES = "NIMBLE_RETRY_NOTES"
