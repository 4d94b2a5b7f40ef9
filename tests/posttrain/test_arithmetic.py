"""Merging one tensor: what the methods' papers say, and the same bits in whatever pieces a machine adds."""

import math

import numpy as np
import pytest

from core.errors import ConfigError
from posttrain.arithmetic import Doubles, merge_tensors, slerp, slerp_shares, ties, tree_sum, trim
from posttrain.config import MergeConfig, Method, SourceConfig


def config(method: Method, *weights: float, **more: float) -> MergeConfig:
    models = [SourceConfig(step=step, weight=weight) for step, weight in enumerate(weights, start=1)]
    base = [SourceConfig(step=99)] if method in (Method.TASK_ARITHMETIC, Method.TIES) else []
    return MergeConfig(method=method, models=models, base=base, **more)


def row(*values: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.array(values, dtype=np.float32)


def wide(*values: float) -> Doubles:
    return np.array(values, dtype=np.float64)


def test_a_linear_merge_is_the_average_by_weight_rounded_once() -> None:
    merged = merge_tensors([row(1, 0), row(4, 8)], config(Method.LINEAR, 1.0, 3.0))
    assert merged.dtype == np.float32 and merged.tolist() == [13 / 4, 6.0]
    third = merge_tensors([row(1), row(0), row(0)], config(Method.LINEAR, 1.0, 1.0, 1.0))
    assert third[0] == np.float32(1 / 3)


def test_task_arithmetic_adds_the_differences_from_the_base() -> None:
    merged = merge_tensors([row(1, 1), row(2, 1), row(1, 4)], config(Method.TASK_ARITHMETIC, 1.0, 0.5, scale=2.0))
    assert merged.tolist() == [3.0, 4.0]


def test_slerp_ends_at_both_models_and_keeps_the_length_in_between() -> None:
    one, other = wide(3, 0, 0), wide(0, 3, 0)
    assert slerp(one, other, position=0).tolist() == [3, 0, 0]
    assert slerp(one, other, position=1) == pytest.approx([0, 3, 0], abs=1e-15)
    half = slerp(one, other, position=0.5)
    assert half == pytest.approx([3 / math.sqrt(2)] * 2 + [0])
    # A straight line would be shorter.
    assert math.sqrt(tree_sum(half * half)) == pytest.approx(3)


@pytest.mark.parametrize("cosine", [-0.9994, -0.3, 0.0, 0.6, 0.9994])
def test_the_shares_of_slerp_do_not_hang_on_the_last_bits_of_the_c_library(
    cosine: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    angle = math.acos(cosine)
    shares = slerp_shares(cosine, 0.25)
    assert shares == pytest.approx((math.sin(0.75 * angle) / math.sin(angle), math.sin(0.25 * angle) / math.sin(angle)))
    # Another library's arc cosine, off by far more than a last bit.
    monkeypatch.setattr(math, "acos", lambda _: angle * (1 + 1e-9))
    assert slerp_shares(cosine, 0.25) == shares


def test_slerp_of_parallel_or_empty_tensors_is_a_straight_line() -> None:
    assert slerp(wide(1, 1), wide(3, 3), position=0.25).tolist() == [1.5, 1.5]
    assert slerp(wide(0, 0), wide(2, 4), position=0.5).tolist() == [1, 2]


def test_ties_trims_elects_a_sign_and_averages_those_that_have_it() -> None:
    # Figure 1 of Yadav et al. 2023 in small: the first element agrees, the second is fought over, the third is trimmed.
    differences = [wide(4, 3, 0.1), wide(2, -1, 0.2)]
    assert ties(differences, [1.0, 1.0], density=2 / 3).tolist() == [3, 3, 0]
    assert ties(differences, [1.0, 4.0], density=2 / 3).tolist() == [12 / 5, -1, 0]
    # Without trimming, the third counts as well.
    assert ties(differences, [1.0, 1.0], density=1.0)[2] == pytest.approx(0.15)


def test_what_is_trimmed_does_not_hang_on_how_equals_are_sorted() -> None:
    assert trim(wide(1, -1, 1, 1), density=0.5).tolist() == [1, -1, 0, 0]
    assert trim(wide(0, 5), density=0.01).tolist() == [0, 5]


def test_a_tree_sum_is_the_sum_and_of_nothing_zero() -> None:
    values = wide(*range(1, 12))
    assert tree_sum(values) == 66 and tree_sum(wide()) == 0
    assert tree_sum(wide(1e100, 1.0, -1e100, 1.0)) == 2.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": Method.SLERP, "models": [{"step": 1}]}, "names 1 models; slerp takes exactly 2"),
        ({"method": Method.LINEAR, "models": [{"step": 1}]}, "linear takes at least 2"),
        ({"method": Method.TIES, "models": [{"step": 1}, {"step": 2}]}, "merge.base names 0 models; ties takes one"),
        ({"method": Method.LINEAR, "models": [{"step": 1}, {"step": 1}]}, "names step 1 twice"),
        (
            {"method": Method.LINEAR, "models": [{"step": 1, "weight": 1.0}, {"step": 2, "weight": -1.0}]},
            "sum to 0",
        ),
        ({"method": Method.LINEAR, "models": [{"step": 1}, {}]}, "give the step of this run's training, or the SHA"),
        ({"method": Method.LINEAR, "models": [{"step": 1}, {"weights_sha256": "ab"}]}, "give 64 digits"),
        ({"method": Method.SLERP, "models": [{"step": 1}, {"step": 2}], "position": 2.0}, "position from 0 to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        models = [SourceConfig(**one) for one in settings.pop("models")]  # type: ignore[attr-defined]
        MergeConfig(models=models, **settings)  # type: ignore[arg-type]
