"""Executors: where the trials of a search are trained, and the training of one."""
