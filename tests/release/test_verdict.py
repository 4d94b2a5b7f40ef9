"""How commands end on verdicts: a weaker claim never ends as a bitwise one does."""

import pytest

from core.errors import DataError
from release.verdict import HOLDS, HOLDS_NOT, Finding, InconclusiveError, Verdict, conclude, conclude_weakly


def findings(*verdicts: Verdict) -> list[Finding]:
    return [Finding(check=verdict.name.lower(), verdict=verdict, detail="") for verdict in verdicts]


@pytest.mark.parametrize("weaker", [Verdict.WITHIN, Verdict.EQUIVALENT])
def test_what_holds_weakly_has_an_exit_code_of_its_own(weaker: Verdict) -> None:
    with pytest.raises(SystemExit) as ended:
        conclude_weakly(findings(Verdict.PASS, weaker), subject="x")
    assert ended.value.code == HOLDS == 3


@pytest.mark.parametrize("weaker", [Verdict.OUTSIDE, Verdict.DIFFERENT])
def test_what_does_not_hold_has_another(weaker: Verdict) -> None:
    with pytest.raises(SystemExit) as ended:
        conclude_weakly(findings(Verdict.PASS, Verdict.WITHIN, weaker), subject="x")
    assert ended.value.code == HOLDS_NOT == 4


@pytest.mark.parametrize(
    "verdicts",
    [
        (),
        (Verdict.PASS,),
        (Verdict.REFERENCE,),
        (Verdict.WITHIN, Verdict.INCONCLUSIVE),
        (Verdict.TOO_FEW,),
        (Verdict.UNSUPPORTED,),
    ],
)
def test_what_was_not_judged_never_holds(verdicts: tuple[Verdict, ...]) -> None:
    with pytest.raises(InconclusiveError, match="could not be judged"):
        conclude_weakly(findings(*verdicts), subject="x")


def test_a_fail_is_a_fail_whatever_holds_besides() -> None:
    with pytest.raises(DataError, match="FAIL in fail"):
        conclude_weakly(findings(Verdict.WITHIN, Verdict.FAIL, Verdict.OUTSIDE), subject="x")


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.PASS])
def test_nothing_but_pass_ends_a_bitwise_verification_silently(verdict: Verdict) -> None:
    conclude(findings(Verdict.PASS), subject="x")
    with pytest.raises((DataError, InconclusiveError)):
        conclude(findings(Verdict.PASS, verdict), subject="x")
