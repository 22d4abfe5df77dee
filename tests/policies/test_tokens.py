"""A policy of tokens: its loss is the bound, its goals are told, forgotten and checked, guidance works."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stillhand.core.diffusion.decoding import Decoding, FirstHitting, Leap
from stillhand.core.diffusion.discrete_guidance import Constant, Interval, unlocking
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Spec
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.tokenizers import ChunkTokens, uniform
from stillhand.policies.tokens import TokenPolicy

SPEC = Spec(task="sides-goals", observation_dim=3, action_dim=1, control_hz=10.0)
GOAL = slice(1, 3)


def demonstrations() -> Demonstrations:
    """Goal 0 moves by -1, goal 1 by +1; eight episodes of six steps."""
    rng = np.random.default_rng(0)
    goals = np.arange(8) % 2
    place, told = rng.uniform(-1, 1, (48, 1)), np.eye(2)[goals.repeat(6)]
    action = 2.0 * goals.repeat(6)[:, None] - 1 + rng.uniform(-0.2, 0.2, (48, 1))
    return from_arrays(
        np.concatenate([place, told], 1).astype(np.float32),
        action.astype(np.float32),
        np.arange(6, 49, 6, dtype=np.int64),
        goals.astype(np.int64),
        np.arange(8, dtype=np.int64),
        SPEC,
    )


def policy(decoding: Decoding | None = None, **changes: Any) -> TokenPolicy:
    torch.manual_seed(0)
    encoder = partial(StateEncoder, octaves=0)
    made = TokenPolicy(
        border=Border(spec=SPEC, observation_horizon=1, prediction_horizon=2, encoder=encoder),
        tokenizer=partial(ChunkTokens, size=8, binning=uniform, precision=1.0),
        net=partial(TokenTransformer, width=16, layers=1, heads=2),
        decoding=decoding or Decoding(Leap(2)),
        **{"goal_columns": 2, **changes},
    )
    made.fit(demonstrations(), seed=0)
    return made


def batch(rows: int = 48) -> Batch:
    return WindowLoader(demonstrations(), 1, 2, rows, seed=0).batch(0)


@pytest.fixture(scope="module")
def taught() -> TokenPolicy:
    """Trained until it has learnt the two goals; a third of the windows without one."""
    made = policy(goal_dropout=0.3)
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for step in range(150):
        loss, _ = made.loss(batch(), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return made.eval()


def windows(goal: list[float], rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.tile(np.float32([0.1, *goal]), (rows, 1, 1))


def moves(made: TokenPolicy, goal: list[float], rows: int = 64) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Which way the first actions go."""
    rngs = [np.random.default_rng([3, i]) for i in range(rows)]
    return np.sign(made.act(windows(goal, rows), rngs).actions[:, 0, 0])


def test_it_goes_where_the_goal_says_and_anywhere_without(taught: TokenPolicy) -> None:
    assert (moves(taught, [1, 0]) == -1).mean() > 0.9 and (moves(taught, [0, 1]) == 1).mean() > 0.9
    assert 0.2 < (moves(taught, [0, 0]) == 1).mean() < 0.8


def test_weight_0_forgets_the_goal_and_guidance_strengthens_it(taught: TokenPolicy) -> None:
    shares = []
    for weight in (0.0, 0.3, 1.0, 3.0):
        taught.decoding = Decoding(Leap(2), weight=Constant(weight))
        shares.append(float((moves(taught, [0, 1], 200) == 1).mean()))
    taught.decoding = Decoding(Leap(2))
    assert shares[0] < 0.8 and shares == sorted(shares) and shares[-1] > 0.95


def test_the_loss_is_the_bound_whose_rows_weigh_1_over_t(taught: TokenPolicy) -> None:
    """[MDLM] Eq. 11 by brute force: the mean of its 1 / t over many times and masks."""
    one = batch()
    many = Batch(one.observation.repeat(60, 1, 1), one.action.repeat(60, 1, 1), one.valid.repeat(60, 1))
    forgetting, taught.goal_dropout = taught.goal_dropout, 0.0
    with torch.no_grad():
        loss, info = taught.loss(many, torch.Generator().manual_seed(0))
        expected = by_hand(taught, many)
    taught.goal_dropout = forgetting
    assert loss.mean().item() == pytest.approx(expected, rel=0.1)
    assert info["masked/accuracy"].shape == loss.shape


def by_hand(made: TokenPolicy, data: Batch) -> float:
    """Sum over masks of two places; the integral of t^(k - 1) (1 - t)^(2 - k) is 1 / 2 for k = 1 and 2."""
    x0 = made.tokens.encode(made.border.normalized(data.action))
    cond, total = made.border.condition(data.observation), torch.zeros(len(x0))
    for hidden in ([0], [1], [0, 1]):
        x = x0.clone()
        x[:, hidden] = made.tokens.size
        law = made.network(x, cond).log_softmax(-1).gather(-1, x0.unsqueeze(-1))[..., 0]
        total -= law[:, hidden].sum(1) * 0.5
    return float(total.mean()) / 2


def test_goals_are_forgotten_at_the_stated_rate() -> None:
    made = policy(goal_dropout=0.25)
    many = batch().observation.repeat(100, 1, 1)
    kept = made._forgetful(many, torch.Generator().manual_seed(0))
    told = kept[..., GOAL].sum((1, 2))
    assert {*told.tolist()} == {0.0, 1.0} and (told == 0).float().mean().item() == pytest.approx(
        0.25, abs=0.03
    )
    assert torch.equal(kept[..., 0], many[..., 0])
    never = policy(goal_dropout=0.0)._forgetful(many, torch.Generator())
    assert torch.equal(never, many)


def test_a_guided_step_asks_for_two_rows_and_others_for_one() -> None:
    for weight, rows in ((Constant(1.0), [1, 1, 1, 1]), (Interval(2.0, 0.4, 0.8), [1, 2, 2, 1])):
        made, asked = policy(Decoding(Leap(4), weight=weight)), list[int]()
        made.backbone().register_forward_pre_hook(lambda _, given, asked=asked: asked.append(len(given[0])))
        made.act(windows([1, 0], 1), [np.random.default_rng(0)])
        assert asked == rows  # at 1, .75, .5, .25


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(Leap(3), weight=Constant(2.0)),
        Decoding(Leap(3, unlocking), weight=Constant(2.0)),
        Decoding(FirstHitting()),
    ],
)
def test_a_guided_plan_does_not_depend_on_its_neighbours(decoding: Decoding) -> None:
    made, place = policy(decoding), np.random.default_rng(1).uniform(-1, 1, (5, 1, 1))
    for parameter in made.network.parameters():
        nn.init.normal_(parameter, std=0.5)
    seen = np.concatenate([place, np.eye(2)[[0, 1, 0, 1, 1]][:, None]], -1).astype(np.float32)
    rngs = [np.random.default_rng([7, i]) for i in range(5)]
    together = made.act(seen, rngs).actions
    strangers, other = seen.copy(), [np.random.default_rng([9, i]) for i in range(5)]
    strangers[[0, 1, 3, 4], :, 0] += np.float32(0.5)
    other[2] = np.random.default_rng([7, 2])
    assert np.array_equal(made.act(strangers, other).actions[2], together[2])
    assert np.isfinite(together).all() and len({chunk.tobytes() for chunk in together}) > 1


@pytest.mark.parametrize("goal", [[1, 1], [0.5, 0.5], [2, 0], [-1, 1], [float("nan"), 0]])
def test_a_goal_of_no_kind_is_named(goal: list[float], taught: TokenPolicy) -> None:
    with pytest.raises(ValueError, match=r"the last 2 numbers .* a 1 among zeros or all zeros, got \["):
        taught.act(windows(goal, 1), [np.random.default_rng(0)])
    wrong = Batch(torch.from_numpy(windows(goal, 1)), torch.zeros(1, 2, 1), torch.ones(1, 2).bool())
    with pytest.raises(ValueError, match="the last 2 numbers"):
        taught.loss(wrong, torch.Generator())


def test_guidance_without_goals_is_refused() -> None:
    made = policy(Decoding(Leap(2), weight=Constant(2.0)), goal_columns=0)
    with pytest.raises(ValueError, match="guidance needs a goal to leave out, .* goal_columns=0"):
        made.act(windows([1, 0], 1), [np.random.default_rng(0)])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"goal_columns": 3}, r"goal_columns must lie in 0\.\.2, got 3"),
        ({"goal_columns": -1}, r"goal_columns must lie in 0\.\.2, got -1"),
        ({"goal_dropout": 1.0}, r"goal_dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        policy(**changes)


def test_actions_outside_the_fitted_range_are_refused_in_training() -> None:
    made, one = policy(), batch(1)
    far = Batch(one.observation, one.action + 100, one.valid)
    with pytest.raises(ValueError, match="number 0 is .*, expected"):
        made.loss(far, torch.Generator())
