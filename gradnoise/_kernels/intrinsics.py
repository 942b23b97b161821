"""Operations on memory and processors that numba lacks, for numba to compile."""

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

if config.DISABLE_JIT:
    raise ImportError("numba does not compile while NUMBA_DISABLE_JIT is set.")

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(*signature: Any, **options: Any) -> Callable[[Function], Function]:
    """Return numba's decorator."""
    decorate: Callable[[Function], Function] = njit(
        *signature, nogil=True, error_model="numpy", **options
    )
    return decorate


@intrinsic  # type: ignore[untyped-decorator]  # of numba
def widest(_typing: Any) -> Any:
    """Allow 512-bit registers in this function; on some processors LLVM prefers 256 bits."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_typing: Any, _address: Any, kind: Any) -> Any:
    """Return the address as a pointer to numbers of a type, such as np.float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(types.int64, kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def take_next(_typing: Any, _address: Any) -> Any:
    """Add 1 to the int64 at the address atomically, and return the value before."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i64 = ir.IntType(64)
        return builder.atomic_rmw(
            "add", builder.inttoptr(arguments[0], i64.as_pointer()), i64(1), "monotonic"
        )

    return types.int64(types.int64), generate
