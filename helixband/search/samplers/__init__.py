"""Samplers: how a search finds configurations."""
