"""The private mean of vectors that sixty parties hold: clip, rotate, round, add noise shares, sum in secret.

What a pipeline of your own takes from the library: no model, no torch.  Every party's vector is protected
whole (``unit = client``): whether it was in the sum or zero changes what comes out by (epsilon, delta).
"""

import numpy as np

import fedpriv
from fedpriv import dp
from fedpriv.crypto import Keystream
from fedpriv.encoding import ClientGrid, Rotation
from fedpriv.entropy import Entropy

PARTIES, COLLUDERS, DIMENSION, CLIP, EPSILON, DELTA = 60, 5, 50, 1.0, 3.0, 1e-3

# Agreed beforehand, and public: the noise, the grid, and the seed of the round's rotation.
multiplier = dp.noise_multiplier(EPSILON, DELTA, sampling_rate=1.0, rounds=1)
honest = PARTIES - COLLUDERS
grid = ClientGrid.plan(
    bits=24,
    clients=PARTIES,
    clip=CLIP,
    noise_multiplier=multiplier,
    share_excess=PARTIES / honest,
    dimension=DIMENSION,
    rounding="stochastic",
)
share = dp.variance_for(multiplier, grid.sensitivity, shares=honest)
rotation = Rotation.draw(DIMENSION, Keystream(b"a public seed of 32 bytes, fresh").words)

# Each party by itself, with entropy of its own.
truth = np.random.default_rng(1).normal(0.1, 0.1, (PARTIES, DIMENSION))
sent = []
for party, vector in enumerate(truth):
    words = Entropy().stream("party", party).words
    integers = grid.encode(vector, rotation=rotation, words=words)
    sent.append(integers + dp.discrete_gaussian(share, DIMENSION, words))

# The sum is all that anybody else learns.
total = fedpriv.secure_sum(sent, bits=grid.fixed.bits)
mean = grid.decode(total, rotation=rotation) / PARTIES

event = dp.PoissonDiscreteGaussian(share, honest, grid.sensitivity, DIMENSION, sampling_rate=1.0)
exact = (truth * np.minimum(1.0, CLIP / np.linalg.norm(truth, axis=1, keepdims=True))).mean(axis=0)
print(f"epsilon {dp.epsilon_pld([(event, 1)], DELTA):.2f} at delta {DELTA:g}, {grid.fixed.bits} bits a value")
print(f"error {np.linalg.norm(mean - exact):.2f} beside a mean of norm {np.linalg.norm(exact):.2f}")
