"""Studies and trials in their database. Public face: `open_study.open_study`."""

# How long the processes of a study wait for the database and for each other.
PATIENCE_S = 300.0  # assumed: how long to wait for an unavailable database
HEARTBEAT_S = 30  # assumed: between two heartbeats of a trial
GRACE_BEATS = 4  # assumed: missed heartbeats after which a worker counts as dead
