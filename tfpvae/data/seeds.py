"""NumPy's random numbers, for splitting a data set and for drawing a test set."""

import numpy as np


def generator(seed: int) -> np.random.Generator:
    """A Philox generator keyed by any int64; negative seeds wrap, as everywhere in tfpvae."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64))
