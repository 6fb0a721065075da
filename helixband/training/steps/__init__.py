"""Steppers: how one optimizer step is done, for one model or for several."""
