"""What tests of several samplers share."""

from time import process_time
from timeit import repeat

from helixband.search.samplers.evidence import Evidence


def seconds_of_a_suggestion(sampler, space):
    """Of CPU time, with a thousand trials of a space whose `lr` is the reward."""
    evidence = Evidence()
    for trial, genome in enumerate(space.genomes(1000, seed=1)):
        config = space.document(genome)
        evidence.add(trial, config, 1, config["lr"])
    sampler.suggest(1000, evidence)
    # Several times: a core that something else shares makes one of them slow.
    seconds = repeat(
        lambda: [sampler.suggest(trial, evidence) for trial in range(1001, 1011)],
        timer=process_time,
        repeat=5,
        number=1,
    )
    return min(seconds) / 10
