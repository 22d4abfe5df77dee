"""Compile Triton kernels for GPUs that are not there, and bound what they take."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGETS = (80, 90, 100)
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def compile_for(
    target: int, kernel: Any, types: dict[str, str], constants: dict[str, Any], warps: int = 4
) -> tuple[int, int, int]:
    """Registers, bytes of spilled stack and bytes of shared memory of one kernel.

    Args:
        target: Compute capability, 90 for sm_90.
        kernel: A `triton.jit` function.
        types: Of the other arguments, "*fp32" and so on.
        constants: Values of constexpr arguments; None for absent pointers.
        warps: Of a block.
    """
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert found, said
    return int(found[1]), int(found[2]), built.metadata.shared
