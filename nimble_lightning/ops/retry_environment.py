"""How `nimble-cli retry` and the callback in the script it starts find each other: by the environment."""

from __future__ import annotations

# The name of the run, by which a script started again finds its own checkpoints.
RUN = "NIMBLE_RETRY_RUN"
# A folder in which the script leaves notes: where it commits, and what an exit code cannot say.
NOTES = "NIMBLE_RETRY_NOTES"
