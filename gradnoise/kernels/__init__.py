"""The noise kernels: one definition of the numbers, in three forms.

`portable` is the definition, in numpy; `compiled` is the same for the CPU's vector units, by numba;
`cuda` is the same in Triton. All add std * z to float32 numbers in place, where z of element e of a
stream is made so:

- Block b of the stream is Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) of the
  counter (b mod 2^32, b div 2^32, t mod 2^32, t div 2^32) under the stream's 64-bit key: four words
  w_0 ... w_3.
- 32 blocks make the 128 elements of a group: with lane l in [0, 32), block 32 g + l gives the
  elements 128 g + l + {0, 32, 64, 96}.
- The pairs (w_0, w_1) and (w_2, w_3) each give two draws of N(0, 1) by Box and Muller (1958,
  doi:10.1214/aoms/1177706645): radius sqrt(-2 ln((floor(w_0 / 2) + 1/2) / 2^31)), angle pi/2 s of
  the right half plane with s in [-1, 1) from the low 31 bits of w_1, mirrored through the origin if
  its high bit is set. The cosines come first: elements + 0 and + 32; then the sines: + 64 and + 96.

So the tails reach sqrt(2 ln 2^32) = 6.66 standard deviations, beyond which a true normal has one
draw in 4e10.
"""

LANES = 32
GROUP = 4 * LANES

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
