"""Sums of a few rows of tables, such as the embeddings of a sentence's words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional


def row_sums(
    tables: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return sum_j weights_ij table[rows_ij] for each i, [sums, numbers] for each table.

    A product with a matrix of the weights would be dense, though nearly all of it is 0. On a GPU,
    where a CUDA graph allows no shape that depends on values, it is such a product nevertheless.

    Args:
        tables: [tables, rows, numbers].
        rows: [sums, terms]; the number of rows of a table is no term.
        weights: [sums, terms].

    >>> tables = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> row_sums(tables, torch.tensor([[1, 2, 0]]), torch.ones(1, 3))
    (tensor([[4., 6.]]),)
    """
    if tables.is_cpu:
        return _of_models(tables, rows, weights)
    empty = weights.new_zeros(len(rows), tables.shape[1] + 1)
    return (empty.scatter_add(1, rows, weights)[:, :-1] @ tables).unbind()


class _RowSums(torch.autograd.Function):
    """The sums over the terms that there are, of many models at once under `torch.func.vmap`."""

    @staticmethod
    def forward(
        tables: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        is_term = rows < tables.shape[1]
        return _summed(tables.unbind(), rows[is_term], is_term.sum(1), weights[is_term])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        tables, rows, weights = inputs
        ctx.n_rows = tables.shape[1]
        ctx.save_for_backward(rows, weights)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the tables: its rows are sums of rows of the given ones."""
        rows, weights = ctx.saved_tensors
        terms = (rows.flatten() < ctx.n_rows).nonzero()[:, 0]
        row_of, order = rows.flatten()[terms].sort(stable=True)
        terms = terms[order]
        counts = torch.bincount(row_of, minlength=ctx.n_rows)
        sums = terms // rows.shape[1]
        found = _summed(gradients, sums, counts, weights.flatten()[terms])
        return torch.stack(found), None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        *inputs: torch.Tensor,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        """Return the sums of all models as those of one, with their tables below each other."""
        tables, rows, weights = (
            part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
            for part, dim in zip(inputs, in_dims, strict=True)
        )
        n_models, n_tables, n_rows = tables.shape[:3]
        first = n_rows * torch.arange(n_models)[:, None, None]
        below = torch.where(rows < n_rows, rows + first, n_models * n_rows)
        sums = _of_models(
            tables.transpose(0, 1).flatten(1, 2), below.flatten(0, 1), weights.flatten(0, 1)
        )
        return tuple(each.view(*rows.shape[:2], -1) for each in sums), (0,) * n_tables


def _of_models(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    sums: tuple[torch.Tensor, ...] = _RowSums.apply(*inputs)  # type: ignore[no-untyped-call]
    return sums


def _summed(
    tables: Sequence[torch.Tensor],
    rows: torch.Tensor,
    counts: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Return weighted sums of rows; the first `counts[0]` terms are those of the first sum."""
    first = counts.cumsum(0) - counts
    return tuple(
        functional.embedding_bag(
            rows, table.contiguous(), first, mode="sum", per_sample_weights=weights
        )
        for table in tables
    )
