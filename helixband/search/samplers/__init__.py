"""Samplers: how a search finds configurations."""

SAMPLERS = {
    "random": "helixband.search.samplers.random:RandomSampler",
    "tpe": "helixband.search.samplers.tpe:TpeSampler",
    "density": "helixband.search.samplers.density:DensitySampler",
}
"""The class of each sampler by its name on the command line; `choice.Sampler` says what such a class has.

The order matters: `--sampler auto` takes the first class whose `space` is the kind of the definition's space.
"""
