import torch

from gradnoise import NoiseProcess, anticorrelated, constant
from gradnoise._noise import Noise
from gradnoise._processes.process import Terms
from gradnoise.training.noise_terms import NoiseTable, NoiseTerms, pick
from gradnoise.workloads import normal

SHAPES = {"w": (4,)}


def terms_of(*processes: NoiseProcess | None, first_t: int = 0) -> NoiseTerms | None:
    """Return the terms of two updates; a member's seed is its index."""

    def noise(k: int) -> Noise:
        return Noise(k, SHAPES)

    def terms(k: int) -> Terms | None:
        process = processes[k]
        return None if process is None else process.terms

    return NoiseTerms.of(2, range(len(processes)), lambda k: first_t + 10 * k, noise, terms)


def test_terms_are_tabulated_by_term_update_and_member() -> None:
    found = terms_of(constant(0.5), None, anticorrelated(0.1))
    assert found is not None
    assert found.ts.tolist() == [[[0, 0, 20], [1, 0, 21]], [[0, 0, 19], [0, 0, 20]]]
    assert found.stds.tolist() == [[[0.5, 0, 0.1], [0.5, 0, 0.1]], [[0, 0, -0.1], [0, 0, -0.1]]]


def test_members_without_noise_have_no_table() -> None:
    assert terms_of(None, None) is None


def test_a_table_adds_each_members_noise_and_is_reloaded() -> None:
    """The second row has no noise; the first draws with seed 0."""
    rows = torch.zeros(2, 4)
    first, later = terms_of(constant(0.5), None), terms_of(constant(0.25), None, first_t=7)
    assert first is not None
    assert later is not None
    table = NoiseTable(rows, first)
    table.add_(1)
    torch.testing.assert_close(rows[0], 0.5 * normal(0, "noise", 1, "w", (4,)))
    rows.zero_()
    table.load(later)
    table.add_(0)
    torch.testing.assert_close(rows[0], 0.25 * normal(0, "noise", 7, "w", (4,)))
    assert not rows[1].any()


def test_a_row_is_picked_by_a_number_or_by_a_number_on_the_device() -> None:
    table = torch.arange(6).view(3, 2)
    assert pick(table, 1).tolist() == pick(table, torch.tensor([1])).tolist() == [2, 3]
