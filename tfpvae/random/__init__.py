"""Counter-based random numbers: samples are a pure function of their seed.

The algorithm is Threefry-2x32 with 20 rounds [SM11]. It is implemented in `tfpvae.random.numpy` and in
`tfpvae.random.tensorflow`, whose operations all have an ONNX form. Both give the same bits for the same seed, in every
batch and on every runtime.

[SM11] Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from typing import Final

ALGORITHM: Final = "threefry2x32-20/v1"
"""The name and version of the algorithm. It changes whenever a seed would give other numbers."""
