"""Object files of kernels that numba compiles."""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba import types

from gradnoise._kernels.intrinsics import kernel


def object_file(function: Callable[[int], None], name: str) -> bytes:
    """Return an object file with the function as `void name(int64_t)`.

    Of other libraries it needs the functions OF_C.

    Args:
        function: For numba to compile.
        name: Its name in the file.

    Raises:
        ImportError: If numba's code needs functions of numba.
    """
    compiled: Any = kernel(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    compiled.compile(types.void(types.int64))
    (result,) = compiled.overloads.values()
    inner = result.fndesc.llvm_func_name
    module = llvm.parse_assembly(result.library.get_llvm_str())
    module.link_in(llvm.parse_assembly(WRAPPER.format(name=name, inner=inner)))
    for each in (*module.functions, *module.global_variables):
        if not each.is_declaration and each.name != name:
            each.linkage = "internal"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    missing = [each.name for each in module.functions if each.is_declaration]
    if not all(each in OF_C or each.startswith("llvm.") for each in missing):
        raise ImportError(f"numba's code needs {', '.join(missing)}.")
    found: bytes = machine.emit_object(module)
    return found


OF_C = ("expf", "logf", "sqrtf")
# numba's functions return a status, and take places for a result and an exception. They count the
# references to arrays that numba allocates; there are none.
WRAPPER = """
define void @NRT_MemInfo_call_dtor(ptr %array) {{
  ret void
}}

declare i32 @{inner}(ptr, ptr, i64)

define void @{name}(i64 %argument) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, i64 %argument)
  ret void
}}
"""
