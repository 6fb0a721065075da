"""Helixband: tune, train, evaluate and predict experiments that are defined in one Python file."""

__version__ = "0.1.0"
