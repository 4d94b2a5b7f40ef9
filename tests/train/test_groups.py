"""Which rule updates which parameter."""

from dataclasses import replace

from tests.models import small_config
from tests.train.configs import train_config
from train.config import Optimizer
from train.groups import groups_of

SHAPES = {
    "embedding.weight": (100, 32),
    "blocks.0.attention.wq.weight": (32, 32),
    "blocks.0.attention.q_norm.weight": (8,),
    "blocks.0.attention_norm.weight": (32,),
    "norm.weight": (32,),
    "head.weight": (100, 32),
}
INNER = "blocks.0.attention.wq.weight"


def test_matrices_are_decayed_and_norms_are_not() -> None:
    groups = groups_of(SHAPES, train=train_config(), model=small_config())
    assert {name for name, group in groups.items() if group.is_decayed} == {"embedding.weight", INNER, "head.weight"}
    assert {group.optimizer for group in groups.values()} == {Optimizer.ADAMW}
    assert {group.rate_factor for group in groups.values()} == {1.0}


def test_the_embedding_may_be_left_undecayed() -> None:
    groups = groups_of(SHAPES, train=train_config(is_embedding_decayed=False), model=small_config())
    assert {name for name, group in groups.items() if group.is_decayed} == {INNER}


def test_muon_takes_the_matrices_of_blocks_alone() -> None:
    groups = groups_of(SHAPES, train=train_config(optimizer=Optimizer.MUON), model=small_config())
    assert {name for name, group in groups.items() if group.optimizer is Optimizer.MUON} == {INNER}
    assert groups[INNER].moments == ("momentum",)


def test_a_wider_model_lowers_the_rate_of_inner_matrices() -> None:
    groups = groups_of(SHAPES, train=train_config(), model=replace(small_config(), base_dim=8))
    assert {name: group.rate_factor for name, group in groups.items() if group.rate_factor != 1.0} == {INNER: 0.25}
