"""The kernel without a GPU: in the interpreter, and compiled for three; with one: the reference's choices."""

from collections.abc import Callable

import pytest
import torch

from stillhand.core.kernels.unmask.op import guided_unmask


def test_the_interpreter_agrees_with_the_reference(apart: Callable[..., None]) -> None:
    apart("unmask/interpreted.py", interpreted=True)


def test_it_compiles_for_gpus_without_spills_and_traces_as_one_node(apart: Callable[..., None]) -> None:
    apart("unmask/compiled.py")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_choices_on_a_gpu_are_those_of_a_cpu(dtype: torch.dtype, temperature: float) -> None:
    """But where two scores are within rounding: less than one in a thousand."""
    generator = torch.Generator().manual_seed(0)
    c, u = (torch.randn(8, 64, 1000, generator=generator).to(dtype) for _ in range(2))
    seeds, masked = torch.arange(8) + 2**40, torch.rand(8, 64, generator=generator) < 0.7
    given = {"temperature": temperature, "offset": 3}
    on_gpu = guided_unmask(c.cuda(), u.cuda(), 2.0, seeds=seeds.cuda(), masked=masked.cuda(), **given)
    on_cpu = guided_unmask(c, u, 2.0, seeds=seeds, masked=masked, **given)
    agree = on_gpu.token.cpu() == on_cpu.token
    assert agree.float().mean() > 0.999
    for found, expected in zip(on_gpu[1:], on_cpu[1:], strict=True):
        torch.testing.assert_close(found.cpu()[agree], expected[agree], rtol=1e-4, atol=1e-4)
