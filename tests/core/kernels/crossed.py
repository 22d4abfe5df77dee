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
BINARIES = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def compile_for(
    target: int, kernel: Any, types: dict[str, str], constants: dict[str, Any], warps: int = 4
) -> tuple[int, int, int]:
    """Registers, bytes of spilled registers and bytes of shared memory of one kernel.

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
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(built.asm["ptx"])
        file.flush()
        tool = BINARIES / ("ptxas-blackwell" if target >= 100 else "ptxas")
        architecture = re.search(r"\.target (\w+)", built.asm["ptx"])
        assert architecture
        command = [tool, "-v", f"--gpu-name={architecture[1]}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills, registers = re.search(r"(\d+) bytes spill stores", said), re.search(r"Used (\d+) registers", said)
    assert spills and registers, said
    return int(registers[1]), int(spills[1]), built.metadata.shared
