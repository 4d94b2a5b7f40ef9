"""The parts of a release by which openness is judged: the 17 of the Model Openness Framework, and some more.

Source: White et al. 2024, arXiv:2403.13784, and lfai/model_openness_tool. Class and whether a part is required are the
framework's; the classes build on each other, III first.
"""

from dataclasses import dataclass
from enum import Enum

CODE, DATA, DOCUMENT = "code", "data", "document"


class Status(Enum):
    """Whether a part is there. What is there but does not hold what it promises is broken, and counts as missing."""

    PRESENT = "present"
    BY_REFERENCE = "by reference"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that a release may have. `framework_class` is 0 for what the framework does not count."""

    key: str
    name: str
    content: str
    framework_class: int = 0
    is_required: bool = False


def _part(key: str, name: str, content: str, framework_class: int = 0, *, is_required: bool = True) -> Part:
    return Part(key=key, name=name, content=content, framework_class=framework_class, is_required=is_required)


PARTS = (
    _part("architecture", "Model architecture", CODE, 3),
    _part("final", "Model parameters (Final)", DATA, 3),
    _part("results", "Evaluation results", DOCUMENT, 3),
    _part("model_card", "Model card", DOCUMENT, 3),
    _part("data_card", "Data card", DOCUMENT, 3),
    _part("report", "Technical report", DOCUMENT, 3),
    _part("samples", "Sample model outputs", DOCUMENT, 3, is_required=False),
    _part("training_code", "Training code", CODE, 2),
    _part("inference_code", "Inference code", CODE, 2),
    _part("evaluation_code", "Evaluation code", CODE, 2),
    _part("evaluation_data", "Evaluation data", DATA, 2),
    _part("libraries", "Supporting libraries and tools", CODE, 2, is_required=False),
    _part("datasets", "Datasets", DATA, 1),
    _part("preprocessing_code", "Data preprocessing code", CODE, 1),
    _part("intermediate", "Model parameters (Intermediate)", DATA, 1),
    _part("paper", "Research paper", DOCUMENT, 1),
    _part("metadata", "Model metadata", DATA, 1, is_required=False),
    _part("tokenizer", "Tokenizer", DATA, is_required=False),
    _part("optimizer", "Optimizer states", DATA, is_required=False),
    _part("log", "Training log", DATA, is_required=False),
    _part("environment", "Environment", DATA, is_required=False),
    _part("flow", "Flow control", CODE, is_required=False),
    _part("decontamination", "Search for evaluation texts in the training data", DATA, is_required=False),
    _part("lineage", "Lineage", DATA, is_required=False),
    _part("cost", "Cost and energy", DATA, is_required=False),
)
FRAMEWORK = {part.name: part for part in PARTS if part.framework_class}
BY_KEY = {part.key: part for part in PARTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found of a part: where, how much, under which licence, and what proves it."""

    status: Status
    paths: tuple[str, ...] = ()
    bytes: int = 0
    licence: str = ""
    proof: str = ""
    note: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the part counts."""
        return self.status in (Status.PRESENT, Status.BY_REFERENCE)


MISSING = Found(status=Status.MISSING)
