"""The parts of an optimizer step besides forward, backward and update, a file each.

They act in one order: schedules are set, gradients are computed, the optimizer updates, and constraints are
applied. A part that a model does not use adds no call to its steps.
"""
