"""What the CPU kernel does, as it reads it from memory."""

import numpy as np

ARRAYS = ("addresses", "starts", "sizes", "keys", "ts", "stds", "states", "rule", "squares")
LENGTHS = ("n_runs", "n_ts", "n_stds", "n_states", "n_squares")

JOB = np.dtype([(name, np.int64) for name in (*ARRAYS, *LENGTHS, "n_shares", "next_share")])
"""The addresses and lengths of the arguments of `compiled.add_share`, and the next share."""

NEXT_SHARE: int = JOB.fields["next_share"][1]  # type: ignore[index]  # its offset; fields is set
CHUNK = 2048
"""The elements of a stream whose noise is computed at a time."""
