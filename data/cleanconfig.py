"""Section `clean` of a recipe: what is done to documents. Every step that is not of normal form is off by default."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.config import placement
from core.errors import ConfigError, DataError
from core.hashing import sha256_hex
from data.documents import KEY_DIGITS
from data.steps.decontaminate import DecontaminationConfig
from data.steps.filters import FilterConfig
from data.steps.gopher import QualityConfig, RepetitionConfig
from data.steps.language import LanguageConfig
from data.steps.lines import LinesConfig
from data.steps.minhash import FuzzyConfig
from data.steps.pii import MaskConfig
from data.steps.repair import RepairConfig
from data.steps.web import C4Config, FinewebConfig

KEY = re.compile(f"[0-9a-f]{{{KEY_DIGITS}}}")
TAKEN_DOWN_FIELDS = ("key", "reason", "date")


@dataclass(kw_only=True, slots=True)
class TakenDownConfig:
    """Field `taken_down` of section `clean`: documents that must not be in the corpus; off without a file.

    path    JSON lines of {"key", "reason", "date"}; the key is the one that the document has in the corpus
    sha256  of that file
    """

    path: Path = placement(Path)
    sha256: str = ""

    @property
    def is_on(self) -> bool:
        """Whether there is such a file."""
        return bool(self.sha256) or self.path != Path()

    def keys(self) -> set[str]:
        """The keys of the documents. Raises DataError if the file is not the one meant or has another form."""
        if not self.is_on:
            return set()
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"clean.taken_down: {self.path} cannot be read: {error.strerror}; correct its path"
            ) from error
        if sha256_hex(content) != self.sha256:
            raise DataError(
                f"clean.taken_down: {self.path} has SHA-256 {sha256_hex(content)}, the recipe says "
                f"{self.sha256 or 'none'}; give the file that was meant, or its hash"
            )
        return {_key(line, where=f"{self.path} line {n}") for n, line in enumerate(content.splitlines(), start=1)}


def _key(line: bytes, *, where: str) -> str:
    try:
        record = json.loads(line)
        key, *rest = (record[name] for name in TAKEN_DOWN_FIELDS)
        if not KEY.fullmatch(key) or not all(isinstance(value, str) and value for value in rest):
            raise ValueError("a key of 32 hex digits, a reason and a date are wanted")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"clean.taken_down: {where} is no document taken down: {error!r}; correct the line") from error
    return str(key)


@dataclass(kw_only=True, slots=True)
class CleanConfig:
    """Section `clean`.

    heldout_permille  how many of 1000 documents are held out, on average; the seed decides which
    priority          of equal or nearly equal texts the one of the source with the lowest number survives, then the
                      first in the recipe; a source that is not named has 0
    shard_documents, shard_bytes  a training shard is closed before it would hold more than either
    part_bytes        a file of more bytes is read by several tasks, smaller ones of a source share a task
    shards            buckets by key or hash in which documents are compared, fewer where there are fewer than
                      part_bytes for each; one is held in memory, so take more for a larger corpus. Neither this nor
                      part_bytes changes what is written
    """

    seed: int
    heldout_permille: int
    repair: RepairConfig = field(default_factory=RepairConfig)
    filters: FilterConfig = field(default_factory=FilterConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    c4: C4Config = field(default_factory=C4Config)
    repetition: RepetitionConfig = field(default_factory=RepetitionConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    fineweb: FinewebConfig = field(default_factory=FinewebConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    lines: LinesConfig = field(default_factory=LinesConfig)
    fuzzy: FuzzyConfig = field(default_factory=FuzzyConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    taken_down: TakenDownConfig = field(default_factory=TakenDownConfig)
    priority: dict[str, int] = field(default_factory=dict)
    shard_documents: int = 10_000
    shard_bytes: int = 64 << 20
    part_bytes: int = 16 << 20
    shards: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.heldout_permille < 1000:
            raise ConfigError(f"clean.heldout_permille is {self.heldout_permille}; give 0 to 999")
        for name in ("shard_documents", "shard_bytes", "part_bytes", "shards"):
            if getattr(self, name) < 1:
                raise ConfigError(f"clean.{name} is {getattr(self, name)}; give at least 1")
        if self.shards > MOST_SHARDS:
            raise ConfigError(f"clean.shards is {self.shards}; give at most {MOST_SHARDS}")

    def precedence(self, sources: Sequence[str]) -> list[str]:
        """The sources, given in the recipe's order, in the order in which their documents survive."""
        return sorted(sources, key=lambda name: self.priority.get(name, 0))

    def check_sources(self, sources: Sequence[str]) -> None:
        """Raise ConfigError for a source that is named and does not exist."""
        for name, given in (("language.expected", self.language.expected), ("priority", self.priority)):
            strange = sorted(given.keys() - set(sources))
            if strange:
                raise ConfigError(
                    f"clean.{name} has {strange[0]}, which is no source; the sources are {', '.join(sources)}"
                )


# Buckets are told apart by 32 bits of a key.
MOST_SHARDS = 1 << 16
