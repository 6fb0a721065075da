"""Generators of batches: their base, and those over sequences."""
