"""The noise kernels: one definition of the draws, in three implementations.

`portable` is the definition, in numpy. `compiled` (numba, for the CPU's vector units) and `cuda`
(Triton) agree with it to rounding. All add std * z to numbers in place, where z of element e of a
stream is computed as follows:

- Block b of the stream is Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) of the
  counter (b mod 2^32, b div 2^32, t mod 2^32, t div 2^32) under the stream's 64-bit key: four words
  w_0 ... w_3.
- 32 blocks give the 128 elements of group g: block 32 g + l, with lane l in [0, 32), gives the
  elements 128 g + l + {0, 32, 64, 96}.
- The pairs (w_0, w_1) and (w_2, w_3) each give two draws of N(0, 1) by Box and Muller (1958,
  doi:10.1214/aoms/1177706645): radius sqrt(-2 ln((floor(w_0 / 2) + 1/2) / 2^31)), angle pi/2 s of
  the right half plane with s in [-1, 1) from the low 31 bits of w_1, reflected through the origin
  if its high bit is set. The cosines are elements + 0 and + 32, the sines + 64 and + 96.

The largest draw is sqrt(2 ln 2^32) = 6.66 standard deviations; a normal variable exceeds that with
probability 1 / 4e10.
"""

LANES = 32
GROUP = 4 * LANES

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

# the polynomials of the compiled kernels, minimax fits in float32 with errors below 5e-8
LOGARITHM = (
    -1.9999996,
    1.0000118,
    -0.66672063,
    0.4992376,
    -0.39752153,
    0.3462201,
    -0.32796055,
    0.20282203,
)
"""Of -2 ln(1 + x) / x in x, for x in [sqrt(1/2) - 1, sqrt(2) - 1]."""
COSINE = (0.99999995, -1.2336982, 0.25365075, -0.020810628, 0.00085819)
"""Of cos(pi/2 x) in x^2, for x in [-1, 1]."""
SINE = (1.5707963, -0.6459634, 0.07968848, -0.004672228, 0.00015082)
"""Of sin(pi/2 x) / x in x^2, for x in [-1, 1]."""
ROOT_HALF = 0x3F3504F3
"""The bits of sqrt(1/2) in float32: mantissas are taken in [sqrt(1/2), sqrt(2))."""
