"""Verb `plan`: what audits of a run under keepers cost, and how soon they catch a node that lies.

Every `launch.base_every_steps` steps some micro-batches of one step, drawn at random, are computed again. A node that
computes n of a step's M micro-batches, and gives a wrong gradient for each with probability p, is caught by one audit
of A micro-batches with probability 1 - (1 - p n / M)^A; for rare lies that is one in 1 / (p n f) steps, f being the
share of all micro-batches that is audited. What is wrong after a sum or an update, not in a gradient, is seen by the
replay of a window, not by audits.
"""

import sys
from dataclasses import dataclass

from core.cli import recipe_and_overrides
from core.config import load, resolve
from core.errors import ConfigError
from launch.check import absolute
from launch.config import LaunchConfig
from launch.table import columns

LIES = (1.0, 0.1, 0.01, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """`audited` of a step's `micro_batches` are computed again every `every_steps` steps, on `nodes` nodes."""

    audited: int
    micro_batches: int
    every_steps: int
    nodes: int
    spares: int

    @property
    def share(self) -> float:
        """The share of all micro-batches that is computed again."""
        return self.audited / (self.micro_batches * self.every_steps)

    def steps_to_catch(self, lies: float) -> float:
        """Mean steps until a node is caught that lies about this share of its micro-batches."""
        caught = 1.0 - (1.0 - lies / self.nodes) ** self.audited
        return self.every_steps / caught


def audit_count(config: LaunchConfig, *, micro_batches: int) -> int:
    """How many micro-batches one audit computes again; at least one."""
    return audited_of(config.audit_rate, micro_batches=micro_batches, every_steps=config.base_every_steps)


def audited_of(rate: float, *, micro_batches: int, every_steps: int) -> int:
    """How many micro-batches of one step every `every_steps` make a share of all; from one to all of the step."""
    return min(micro_batches, max(1, round(rate * micro_batches * every_steps)))


def main(arguments: list[str]) -> None:
    """Print the plan. Raises ConfigError if the recipe asks for no audits."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m launch plan")
    recipe = absolute(recipe)
    config = load(recipe, "launch", LaunchConfig, overrides)
    if not config.audit_rate:
        raise ConfigError("launch.audit_rate is 0: nothing is audited; give a share, as in launch.audit_rate=0.01")
    micro_batches = int(resolve(recipe, overrides)["train"]["micro_batches"])
    planned = AuditPlan(
        audited=audit_count(config, micro_batches=micro_batches),
        micro_batches=micro_batches,
        every_steps=config.base_every_steps,
        nodes=config.nodes,
        spares=config.spares,
    )
    sys.stdout.write(told(planned, asked=config.audit_rate))


def told(planned: AuditPlan, *, asked: float = 0.0) -> str:
    """The plan for people; `asked` is the share that the recipe gives."""
    spare = "1 spare node" if planned.spares == 1 else f"{planned.spares} spare nodes"
    where = f"{spare}, beside the run" if planned.spares else "nodes that train, in its way"
    facts = [
        ("audited", f"{planned.audited} of {planned.micro_batches} micro-batches of one step in {planned.every_steps}"),
        ("costs", f"{planned.share:.2%} of the gradient work, on {where}"),
    ]
    if asked and not 0.5 < planned.share / asked < 2:
        # One micro-batch is the least, all of a step's are the most, that an audit takes.
        facts.append(("asked", f"{asked:.2%}; change launch.base_every_steps ({planned.every_steps}) to come nearer"))
    caught = [(f"{lies:.1%}", f"{planned.steps_to_catch(lies):,.0f}") for lies in LIES]
    header = ("a node lies in", "steps until it is caught, on average")
    return f"{columns(facts)}\n\n{columns([header, *caught])}\n"
