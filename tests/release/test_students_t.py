"""Student's t distribution against scipy, which is in the development lock."""

import pytest

from release.students_t import incomplete_beta, student_cdf

stats = pytest.importorskip("scipy.stats", reason="scipy is what the values are held against")


@pytest.mark.parametrize("freedom", [1, 2.5, 4, 8, 7.31, 40, 1000])
@pytest.mark.parametrize("t", [-30, -3.2, -0.5, 0, 0.1, 2, 12])
def test_probabilities_are_those_of_scipy(t: float, freedom: float) -> None:
    assert student_cdf(t, freedom=freedom) == pytest.approx(float(stats.t.cdf(t, freedom)), rel=1e-11, abs=1e-15)


def test_the_ends_of_the_beta_function_are_0_and_1() -> None:
    assert (incomplete_beta(0.0, a=2, b=3), incomplete_beta(1.0, a=2, b=3)) == (0.0, 1.0)
    assert incomplete_beta(0.5, a=3, b=3) == pytest.approx(0.5, abs=1e-14)
