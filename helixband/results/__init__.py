"""The result directory, and the checkpoints in it: the only room that knows a path there."""
