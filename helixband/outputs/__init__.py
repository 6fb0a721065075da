"""Predictions of windows on disk: kept while they are made, then written as arrays, tables and tracks."""
