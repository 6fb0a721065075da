"""The parts of an optimizer step besides forward, backward and update, a file each.

Schedules are set, gradients are computed, the optimizer updates, and the parts of `order.py` follow. A part
that a model does not use adds no call to its steps.
"""
