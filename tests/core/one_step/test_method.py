"""What every method keeps to: who sees which conditions, who needs data, where the pull ends."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.one_step.method import drawn, uniform, weight_of
from stillhand.core.one_step.players import Examples, MixtureScore, Players

ROWS = 16
DATA_FREE_CRITICS = {"sid", "dmd", "onedp_s"}
NEEDS_DATA = {"cd"}  # in the generator's turn
WITH_ALPHA = {"smd", "smd_paper", "smt", "smt_none"}


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def table(lab: Any, method: Any, *, teacher: Any = None, kind: Any = None) -> Players[Any]:
    """Networks that all differ, by the lab's rules."""
    form = lab()._form(method)
    more = {} if kind is None else {"kind": kind}
    generator, average = (OneStep(lab().denoiser(seed, **more), 2.5, **form) for seed in (0, 1))
    critic = method.critic(lab().denoiser(2, **more), 1)
    if isinstance(critic, MixtureScore):  # away from the zeros it starts with
        torch.nn.init.normal_(critic.embed.mlp[-1].weight)  # type: ignore[arg-type]
    taught = (teacher or lab().denoiser(3, **more)) if method.needs_teacher else None
    return Players(generator, average, taught, critic)


def examples(lab: Any) -> Examples:
    return lab(rows=ROWS).examples(0)


def test_a_loss_per_sample_is_a_function_of_its_draws(case: tuple[str, str], lab: Any, methods: Any) -> None:
    turn, method = case[1], methods[case[0]]
    batch, players = examples(lab), table(lab, method)
    torch.manual_seed(0)
    loss, info = getattr(method, turn)(players, batch, rng())
    assert loss.shape == (ROWS,) and loss.isfinite().all() and loss.requires_grad
    assert all(value.shape == (ROWS,) and not value.requires_grad for value in info.values())
    torch.manual_seed(1)
    again, _ = getattr(method, turn)(players, batch, rng())
    assert torch.equal(loss, again)
    assert not torch.equal(loss, getattr(method, turn)(players, batch, rng(1))[0])


def test_diagnostics_hold_the_draws(case: tuple[str, str], lab: Any, methods: Any) -> None:
    (name, turn), method = case, methods[case[0]]
    _, info = getattr(method, turn)(table(lab, method), examples(lab), rng())
    assert bool((info["sigma"] > 0).all()) and info["sigma"].std() > 0
    assert ("alpha" in info) == (name in WITH_ALPHA)
    assert ("sample_rms" in info) == (turn == "generator_loss")


def test_teacher_and_critic_see_their_conditions_and_the_generator_its_own(
    case: tuple[str, str], lab: Any, methods: Any, spy: Any
) -> None:
    turn, method = case[1], methods[case[0]]
    batch = examples(lab)
    batch = dataclasses.replace(batch, own=batch.cond + 100)
    players = table(lab, method, kind=spy)
    if isinstance(players.critic, MixtureScore):
        torch.nn.init.zeros_(players.critic.embed.mlp[-1].weight)  # else it would add its share to cond
    getattr(method, turn)(players, batch, rng())
    critic = [] if players.critic is None else [players.critic.denoiser]
    expected = {"own": [players.generator.denoiser], "cond": [*critic, *filter(None, [players.teacher])]}
    for conditions, networks in expected.items():
        for network in networks:
            for seen in network.net.__dict__.get("seen", []):
                assert torch.equal(seen, getattr(batch, conditions))
    assert players.generator.denoiser.net.seen  # type: ignore[union-attr]
    asked = [network for network in expected["cond"] if network.net.__dict__.get("seen")]
    assert asked or turn == "critic_loss"


def test_data_are_looked_at_only_where_they_are_needed(case: tuple[str, str], lab: Any, methods: Any) -> None:
    (name, turn), method = case, methods[case[0]]
    needs = name in NEEDS_DATA if turn == "generator_loss" else name not in DATA_FREE_CRITICS
    batch, players = examples(lab), table(lab, method)
    blank = dataclasses.replace(batch, x0=torch.full_like(batch.x0, torch.nan))
    loss, blind = (getattr(method, turn)(players, b, rng())[0] for b in (batch, blank))
    assert torch.equal(loss, blind) != needs


def pull(method: Any, players: Players[Any], lab: Any) -> tuple[float, float]:
    """Largest loss of a sample, and largest entry of the generator's gradient."""
    loss, _ = method.generator_loss(players, examples(lab), rng())
    grads = torch.autograd.grad(loss.sum(), [*players.generator.parameters()])
    return loss.abs().max().item(), max(g.abs().max().item() for g in grads)


@pytest.mark.parametrize("name", ["sid", "dmd", "onedp_s", "smd", "smd_paper", "smt", "smt_none"])
def test_a_critic_that_equals_the_teacher_leaves_the_generator_alone(
    name: str, methods: Any, lab: Any
) -> None:
    """D9, sample by sample: no loss, no gradient but rounding. SMT: the score is one for every share."""
    method = methods[name]
    same, other = table(lab, method, teacher=lab().denoiser(2)), table(lab, method)
    if name.startswith("smt"):
        torch.nn.init.zeros_(same.critic.embed.mlp[-1].weight)
    loss, grad = pull(method, same, lab)
    assert loss == 0 and grad < 1e-5
    loss, grad = pull(method, other, lab)
    assert loss > 1e-4 and grad > 1e-3


def test_a_critic_learns_nothing_about_the_generator(method: Any, lab: Any) -> None:
    """No graph leads from the critic's loss to the generator, nor from its own conditions to an encoder."""
    batch, players = examples(lab), table(lab, method)
    if players.critic is None:
        with pytest.raises(ValueError, match="has no critic"):
            method.critic_loss(players, batch, rng())
        return
    own = batch.cond.clone().requires_grad_()
    loss, _ = method.critic_loss(players, dataclasses.replace(batch, own=own), rng())
    leaves = [*players.generator.parameters(), own]
    found = torch.autograd.grad(loss.sum(), leaves, allow_unused=True, retain_graph=True)
    assert found == (None,) * len(leaves)
    found = torch.autograd.grad(loss.sum(), [*players.critic.denoiser.parameters()])
    assert any(bool((g != 0).any()) for g in found)


def test_an_encoder_is_taught_through_the_samples_alone(method: Any, lab: Any) -> None:
    """P5: what reaches the own conditions is the pull on the samples, carried on by the generator."""
    batch, players = examples(lab), table(lab, method)
    own = batch.cond.clone().requires_grad_()
    pulled: list[Tensor] = []

    def hook(_: Any, __: Any, out: Tensor) -> Tensor:
        """The samples as a leaf of their own: everything downstream ends here."""
        pulled.append(out)
        return out.detach().requires_grad_() if len(pulled) == 1 else out

    watched = players.generator.denoiser.register_forward_hook(hook)
    leaf_batch = dataclasses.replace(batch, own=own)
    loss, _ = method.generator_loss(players, leaf_batch, rng())
    watched.remove()
    assert torch.autograd.grad(loss.sum(), own, allow_unused=True) == (None,)


def test_weightings() -> None:
    sigma = torch.tensor([0.5, 2.0])
    assert weight_of("error", sigma) is None
    assert torch.equal(weight_of("none", sigma), torch.ones(2))  # type: ignore[arg-type]


def test_drawn_tells_levels_and_sizes() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]], requires_grad=True)
    info = drawn(x, torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(info["sample_rms"], torch.tensor([12.5, 2.0]).sqrt())
    assert not info["sample_rms"].requires_grad


def test_shares_are_uniform_from_the_least() -> None:
    shares = uniform(4000, 0.5, rng(), torch.device("cpu"))
    assert 0.5 <= shares.min() < 0.51 and 0.99 < shares.max() <= 1
    assert abs(shares.mean() - 0.75) < 0.01 and abs(shares.std() - 0.5 / 12**0.5) < 0.01
    assert torch.equal(shares, uniform(4000, 0.5, rng(), torch.device("cpu")))
