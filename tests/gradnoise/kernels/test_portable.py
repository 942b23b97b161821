import math

import numpy as np
import pytest

from gradnoise._kernels import GROUP, portable

# (counter, key, words) of kat_vectors in Random123, by the authors of Philox: philox4x32, 10 rounds
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_words_are_those_of_philox(
    counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]
) -> None:
    block, t = counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    drawn = portable.words(np.array([block], dtype=np.uint64), key[0] | key[1] << 32, t)
    assert drawn[:, 0].tolist() == list(words)


def test_numbers_are_those_of_the_definition() -> None:
    """The elements of three groups, computed in plain Python by the package's docstring."""
    key, t, first = 0x0123456789ABCDEF, 2**35 + 7, 5
    drawn = portable.normals(first, 3, key, t)
    for e in range(3 * GROUP):
        group, place = divmod(e, GROUP)
        quarter, lane = divmod(place, 32)
        words = portable.words(np.array([32 * (first + group) + lane], dtype=np.uint64), key, t)[
            :, 0
        ].tolist()
        radius_word, angle_word = words[:2] if quarter % 2 == 0 else words[2:]
        radius = math.sqrt(-2 * math.log((radius_word // 2 + 0.5) / 2**31))
        low = angle_word % 2**31
        angle = math.pi / 2 * (low - 2**31 * (low >= 2**30)) / 2**30
        sign = -1 if angle_word >> 31 else 1
        expected = sign * radius * (math.cos(angle) if quarter < 2 else math.sin(angle))
        assert drawn[e] == pytest.approx(expected, abs=4e-6)


@pytest.mark.parametrize("start", [0, 1, 127, 128, 5_000, 2**40 + 3])
def test_a_run_is_a_slice_of_its_stream(start: int) -> None:
    n = 300
    values = np.ones(n, dtype=np.float32)
    portable.add(values, start, key=7, t=3, std=0.5)
    group = start // GROUP
    stream = portable.normals(group, 5, 7, 3)
    expected = 1 + np.float32(0.5) * stream[start - group * GROUP :][:n]
    assert np.array_equal(values, expected)
