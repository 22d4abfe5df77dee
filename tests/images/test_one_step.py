from typing import Any

import pytest
import torch


def test_it_is_the_denoiser_asked_once_at_its_level(halves: Any) -> None:
    model = halves.ready(halves.one_step(sigma_init=2.5))
    labels, z = torch.tensor([0, 1, 1]), torch.randn(3, 1, 4, 4)
    expected = model.generator.denoiser(2.5 * z, torch.full((3,), 2.5), model.condition(labels))
    assert torch.equal(model.generate(labels, z), expected)


def test_started_from_a_teacher_it_is_the_teachers_one_call_sampler(halves: Any) -> None:
    teacher, student = halves.ready(halves.diffusion(intervals=1)), halves.one_step(sigma_init=10.0)
    student.generator.denoiser.load_state_dict(teacher.denoiser.state_dict())
    labels, z = torch.tensor([0, 1]), torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(student.eval().generate(labels, z), teacher.generate(labels, z))


def test_without_noise_there_is_one_image_per_class(halves: Any) -> None:
    model = halves.ready(halves.one_step(noisy=False))
    x = model.generate(torch.tensor([0, 1, 0, 1]), torch.randn(4, 1, 4, 4))
    torch.testing.assert_close(x[:2], x[2:])
    assert (x[0] - x[1]).abs().max() > 1e-3


def test_warm_up_gives_the_weights_of_a_denoiser(halves: Any) -> None:
    """Same weights, same draws: the warm-up's loss is the diffusion model's."""
    teacher, student = halves.ready(halves.diffusion()), halves.one_step()
    student.generator.denoiser.load_state_dict(teacher.denoiser.state_dict())
    losses = [m.loss(halves.batch(), torch.Generator().manual_seed(0))[0] for m in (teacher, student.eval())]
    torch.testing.assert_close(losses[0], losses[1])


def test_bad_levels_are_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match="0 <= sigma_min < sigma_init < inf, got 3.0 and 2.5"):
        halves.one_step(sigma_min=3.0)
