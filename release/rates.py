"""The check of the ledger's learning rates and token counts: both follow from the configuration alone."""

from release.checks import expect
from release.contents import Bundle
from release.stage import ask


def rates(bundle: Bundle) -> str:
    """Every step's learning rate is what the schedule gives, and its token count what the shapes give.

    Raises DataError naming the first step that is not.
    """
    train = bundle.trained["train"]
    answer = ask(bundle.runnable_code(), "train", "rates", bundle.runnable_recipe()).split()
    expect("the number of learning rates", len(answer), train["steps"])
    for line in bundle.ledger[1:]:
        expect(f"the learning rate of step {line['step']}", line["lr"], answer[line["step"] - 1])
        expect(f"the tokens after step {line['step']}", line["tokens"], line["step"] * bundle.tokens_per_step)
    return f"learning rates and token counts of all {len(bundle.ledger) - 1} steps follow from the configuration"
