"""What audits are said to cost and to catch."""

import random

import pytest

from launch.plan import AuditPlan, audited_of, told
from tests.conftest import run_module


def _plan(**changes: int) -> AuditPlan:
    return AuditPlan(**{"audited": 2, "micro_batches": 8, "every_steps": 5, "nodes": 4, "spares": 1, **changes})


def test_the_share_is_that_of_all_micro_batches() -> None:
    assert _plan().share == 2 / 40
    assert audited_of(0.05, micro_batches=8, every_steps=5) == 2
    assert audited_of(1.0, micro_batches=8, every_steps=5) == 8
    assert audited_of(1e-9, micro_batches=8, every_steps=5) == 1


@pytest.mark.parametrize("lies", [1.0, 0.1])
def test_the_mean_time_to_catch_a_liar_is_what_a_simulation_gives(lies: float) -> None:
    draw, planned = random.Random(1), _plan()
    times = []
    for _ in range(4000):
        step = 0
        while True:
            step += planned.every_steps
            audited = draw.sample(range(planned.micro_batches), planned.audited)
            # The first micro-batches are the liar's.
            if any(index < planned.micro_batches // planned.nodes and draw.random() < lies for index in audited):
                break
        times.append(step)
    # Drawing without putting back differs a little from the formula; 4000 draws scatter by less than 2%.
    assert planned.steps_to_catch(lies) == pytest.approx(sum(times) / len(times), rel=0.08)


def test_rare_lies_take_one_over_p_n_f_steps() -> None:
    planned = _plan()
    own = planned.micro_batches / planned.nodes
    assert planned.steps_to_catch(1e-6) == pytest.approx(1 / (1e-6 * own * planned.share), rel=1e-4)


def test_the_plan_says_where_the_work_is_done() -> None:
    assert "5.00% of the gradient work, on 1 spare node, beside the run" in told(_plan())
    assert "nodes that train" in told(_plan(spares=0))


def test_a_share_that_cannot_be_had_is_told() -> None:
    assert "asked    0.10%; change launch.base_every_steps (5)" in told(_plan(audited=1), asked=0.001)
    assert "asked" not in told(_plan(), asked=0.05)


def test_a_recipe_without_audits_is_told_how_to_ask_for_them(shared_recipe: object) -> None:
    done = run_module("launch", "plan", shared_recipe)
    assert done.returncode == 64 and "launch.audit_rate" in done.stderr
    done = run_module("launch", "plan", shared_recipe, "launch.nodes=2", "launch.audit_rate=0.05")
    assert done.returncode == 0 and "a node lies in" in done.stdout
