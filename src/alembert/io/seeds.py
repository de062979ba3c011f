"""Seeds of random draws, derived from a run's seed for each stream of draws."""

import numpy as np

ORDER, MASKS, ROW_MASKS, DROPOUT, BOOTSTRAP, MIXED, SEGMENTS = range(7)  # the streams of draws


def sequence(seed: int, stream: int, *numbers: int) -> np.random.SeedSequence:
    """The seed of one draw of a stream, by its numbers (epoch, step, row, process).

    NumPy guarantees the same seed on every platform and version.
    """
    return np.random.SeedSequence(seed, spawn_key=(stream, *numbers))


def torch_seed(seed: int, stream: int, *numbers: int) -> int:
    """The same seed as an integer for torch's generators, 0 to 2**63 - 1."""
    return int(sequence(seed, stream, *numbers).generate_state(1, np.uint64)[0]) >> 1
