"""A tile of a matrix product, for numba to compile: C = end(start + A B), held in registers.

A tile has a fixed number of rows and of vectors of VECTOR numbers. For each number of a column of A
and vector of a row of B there is a single multiply-add, so that the sum of a number of C has the
same order in every tile. LLVM does not form such tiles from loops.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, for_range, if_likely
from numba.extending import intrinsic

from gradnoise._kernels.network_job import TILE_ROWS

HAS_AVX512 = llvm.get_host_cpu_features().get("avx512f", False)
VECTOR = 16 if HAS_AVX512 else 8
"""Numbers per vector."""
ROWS, VECTORS = 5, 4 if HAS_AVX512 else 2
"""The form of the large tile; with the vectors of A and B it fits the 32 or 16 registers."""
NARROW_ROWS = TILE_ROWS
"""Rows of the tile of a single vector; so many that no multiply-add waits for the one before it."""

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
V = ir.VectorType(F32, VECTOR)
FUSED = ("contract",)

PLAIN, RELU, GATED = range(3)
"""The end of a tile: as it is; 0 where it is not above 0; 0 where the gate is not above 0."""


def tile_of(n_rows: int, n_vectors: int) -> Any:
    """Return `tile(a, row_a, column_a, b, row_b, n, start, gate, row_gate, end, c, row_c)`.

    `a`, `b`, `start`, `gate` and `c` are addresses of float32 numbers, the others numbers of
    elements: `row_*` from a row to the next, `column_a` from a column to the next. n is the length
    of the sums.
    """

    @intrinsic  # type: ignore[untyped-decorator]  # of numba
    def tile(
        _typing: Any,
        _a: Any,
        _row_a: Any,
        _column_a: Any,
        _b: Any,
        _row_b: Any,
        _n: Any,
        _start: Any,
        _gate: Any,
        _row_gate: Any,
        _end: Any,
        _c: Any,
        _row_c: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            _generate(builder, n_rows, n_vectors, *arguments)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 12), generate

    return tile


@intrinsic  # type: ignore[untyped-decorator]
def transpose(
    _typing: Any, _matrix: Any, _row: Any, _n_rows: Any, _into: Any, _row_into: Any
) -> Any:
    """Write a block of VECTOR x VECTOR numbers transposed; below n_rows it repeats the last row."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        matrix, row, n_rows, into, row_into = arguments
        matrix, into = (builder.inttoptr(each, F32.as_pointer()) for each in (matrix, into))
        last = builder.sub(n_rows, I64(1))
        block = []
        for r in range(VECTOR):
            at = builder.select(builder.icmp_signed("<", last, I64(r)), last, I64(r))
            block += _vectors(builder, builder.gep(matrix, [builder.mul(at, row)]), 1)
        for distance in (2**k for k in range(VECTOR.bit_length() - 1)):
            for r in range(VECTOR):
                if not r & distance:
                    pair = block[r], block[r + distance]
                    block[r : r + distance + 1 : distance] = _exchanged(builder, *pair, distance)
        for r, vector in enumerate(block):
            _store(builder, vector, builder.gep(into, [builder.mul(row_into, I64(r))]))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5), generate


def _exchanged(builder: Any, first: Any, second: Any, distance: int) -> tuple[Any, Any]:
    """Exchange the lanes of `first` that have the bit `distance` with those of `second` without."""
    lanes = range(VECTOR)
    low = [VECTOR + lane - distance if lane & distance else lane for lane in lanes]
    high = [VECTOR + lane if lane & distance else lane + distance for lane in lanes]
    kind = ir.VectorType(I32, VECTOR)
    first, second = (
        builder.shuffle_vector(first, second, ir.Constant(kind, order)) for order in (low, high)
    )
    return first, second


def _generate(
    builder: Any,
    n_rows: int,
    n_vectors: int,
    a: Any,
    row_a: Any,
    column_a: Any,
    b: Any,
    row_b: Any,
    n: Any,
    start: Any,
    gate: Any,
    row_gate: Any,
    end: Any,
    c: Any,
    row_c: Any,
) -> None:
    a, b, start, gate, c = (
        builder.inttoptr(address, F32.as_pointer()) for address in (a, b, start, gate, c)
    )
    sums = [[alloca_once(builder, V) for _ in range(n_vectors)] for _ in range(n_rows)]
    for v, vector in enumerate(_vectors(builder, start, n_vectors)):
        for row in sums:
            builder.store(vector, row[v])
    rows = [builder.gep(a, [builder.mul(row_a, I64(r))]) for r in range(n_rows)]
    with for_range(builder, n, intp=I64) as loop:
        vectors = _vectors(builder, builder.gep(b, [builder.mul(loop.index, row_b)]), n_vectors)
        column = builder.mul(loop.index, column_a)
        for row, its_sums in zip(rows, sums, strict=True):
            factor = _splat(builder, builder.load(builder.gep(row, [column])))
            for vector, its_sum in zip(vectors, its_sums, strict=True):
                product = builder.fmul(factor, vector, flags=FUSED)
                added = builder.fadd(product, builder.load(its_sum), flags=FUSED)
                builder.store(added, its_sum)
    for kind in (PLAIN, RELU, GATED):
        with if_likely(builder, builder.icmp_signed("==", end, I64(kind))):
            for r, its_sums in enumerate(sums):
                found = [builder.load(its_sum) for its_sum in its_sums]
                gates = found
                if kind == GATED:
                    at = builder.gep(gate, [builder.mul(row_gate, I64(r))])
                    gates = _vectors(builder, at, n_vectors)
                if kind != PLAIN:
                    found = [_gated(builder, *pair) for pair in zip(gates, found, strict=True)]
                into = builder.gep(c, [builder.mul(row_c, I64(r))])
                for v, vector in enumerate(found):
                    _store(builder, vector, builder.gep(into, [I64(v * VECTOR)]))


def _vectors(builder: Any, address: Any, n: int) -> list[Any]:
    found = []
    for v in range(n):
        at = builder.gep(address, [I64(v * VECTOR)])
        found.append(builder.load(builder.bitcast(at, V.as_pointer()), align=4))
    return found


def _store(builder: Any, vector: Any, address: Any) -> None:
    builder.store(vector, builder.bitcast(address, V.as_pointer()), align=4)


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(V, ir.Undefined)
    single = builder.insert_element(undefined, number, I32(0))
    lanes = ir.Constant(ir.VectorType(I32, VECTOR), [0] * VECTOR)
    return builder.shuffle_vector(single, undefined, lanes)


def _gated(builder: Any, gate: Any, vector: Any) -> Any:
    """Return 0 where the gate is not above 0; NaN passes, as in torch."""
    zero = ir.Constant(V, None)
    return builder.select(builder.fcmp_ordered("<=", gate, zero), zero, vector)
