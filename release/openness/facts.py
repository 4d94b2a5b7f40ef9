"""What is known of a release, for every definition and card: read from a bundle, or from a folder of weights.

Nothing of the witness is read: what is reported of a bundle follows from what is under its root.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from release.contents import Bundle
from release.cost import FORMULA, Record, parameters, stated, value
from release.lineage import LINEAGE, inherited_sources
from release.openness.components import Found
from release.openness.words import Words

WORDS_PATH = "report/words.md"


# Relations to a parent whose weights a training did not begin with.
OTHERWISE = {"data", "merge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source of training data."""

    name: str
    locator: str
    licence: str
    language: str
    kind: str
    version: str = ""
    evidence: int = 0
    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A release that this one was made from."""

    name: str
    licence: str
    relation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known. Numbers are 0 and texts empty where nothing is."""

    name: str
    licence: str
    found: Mapping[str, Found]
    words: Words = field(default_factory=Words)
    parameters: int = 0
    architecture: str = ""
    context_tokens: int = 0
    vocab_size: int = 0
    dtype: str = ""
    steps: int = 0
    tokens_trained: int = 0
    sources: Sequence[Source] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    benchmarks: Sequence[str] = ()
    masked: bool = False
    taken_down: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""
    losses: Sequence[float] = ()
    heads: Mapping[str, str] = field(default_factory=dict)
    flow: Sequence[tuple[str, str, str]] = ()
    parents: Sequence[Parent] = ()
    inherited_sources: Mapping[str, str] = field(default_factory=dict)
    packages: int = 0
    cost: Record = field(default_factory=lambda: {"values": []})

    @property
    def flops(self) -> float:
        """Operations of the training: counted, else by the usual estimate (Kaplan et al. 2020)."""
        return value(self.cost, "flops") or 6.0 * self.parameters * self.tokens_trained

    @property
    def flops_by(self) -> str:
        """How the operations are known."""
        return FORMULA if value(self.cost, "flops") else "6 x parameters x tokens"

    @property
    def data_licence(self) -> str:
        """The licences of all sources as one expression."""
        return " AND ".join(sorted({source.licence or "NONE" for source in self.sources}))

    @property
    def without_evidence(self) -> list[str]:
        """Sources whose licence rests on no paper in the release."""
        return [source.name for source in self.sources if not source.evidence]


def bundle_facts(bundle: Bundle, found: Mapping[str, Found], words: Words) -> Facts:
    """What is known of a bundle."""
    corpus, config = bundle.read_json("data/manifest.json"), bundle.read_json("weights/final/config.json")
    trained, steps = bundle.trained, bundle.steps
    total = corpus["cleaning"]["total"]
    return Facts(
        name=bundle.record["name"],
        licence=bundle.record["license"],
        found=found,
        words=words,
        parameters=parameters(bundle),
        architecture=", ".join(config.get("architectures", [])),
        context_tokens=trained["model"]["max_seq_len"],
        vocab_size=trained["model"]["vocab_size"],
        dtype=str(config.get("dtype", "")),
        steps=len(steps),
        tokens_trained=int(steps[-1]["tokens"]) if steps else 0,
        sources=_sources(bundle, corpus),
        languages=_languages(corpus),
        benchmarks=sorted(str(item.get("name", item)) for item in corpus["benchmarks"]),
        masked=any(corpus["recipe"]["sections"]["clean"]["mask"].values()),
        taken_down=len(corpus["tombstones"]["documents"]),
        dropped=total["dropped"]["reasons"],
        scores=bundle.read_json("eval/results.json").get("sources", {}),
        training=trained.get("train", {}),
        model=trained["model"],
        profile=bundle.record["profile_name"],
        losses=[float.fromhex(line["loss"]) for line in steps],
        heads={name: bundle.record[name] for name in ("trajectory_head", "full_head", "data_root", "weights_sha256")},
        flow=[(stage, str(facts["came_in"]), str(facts["went_out"])) for stage, facts in _told(bundle)],
        parents=_parents(bundle),
        inherited_sources=inherited_sources(bundle.read_json(LINEAGE)),
        cost=stated(bundle, words),
        packages=(bundle.folder / "env/requirements.lock").read_text(encoding="utf-8").count("--hash="),
    )


def _sources(bundle: Bundle, corpus: Mapping[str, Any]) -> list[Source]:
    evidence = {item["name"]: len(item["evidence"]) for item in bundle.read_list("data/sources.json")}
    tokens = {item["name"]: item["tokens"] for item in corpus["order"]["sources"]}
    cleaned = corpus["cleaning"]["sources"]
    return [
        Source(
            name=item["name"],
            locator=str(item["locator"]),
            licence=item["license"],
            language=str(item["language"]),
            kind=str(item["kind"]),
            version=str(item.get("version", "")),
            evidence=evidence.get(item["name"], 0),
            documents=cleaned[item["name"]]["train"]["documents"],
            bytes=cleaned[item["name"]]["train"]["bytes"],
            dropped=cleaned[item["name"]]["dropped"]["documents"],
            tokens=tokens.get(item["name"], 0),
        )
        for item in corpus["sources"]
    ]


def _told(bundle: Bundle) -> list[tuple[str, Mapping[str, Any]]]:
    return [(stage, artifact["facts"]) for stage, artifact in bundle.artifacts.items()]


def _languages(corpus: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of training text by the language that its source states."""
    sizes: dict[str, int] = {}
    for item in corpus["sources"]:
        size = corpus["cleaning"]["sources"][item["name"]]["train"]["bytes"]
        sizes[str(item["language"])] = sizes.get(str(item["language"]), 0) + size
    return dict(sorted(sizes.items()))


def _parents(bundle: Bundle) -> list[Parent]:
    """The releases that this one goes on from, as `lineage.json` names them."""
    said = bundle.read_json(LINEAGE)
    parents = [
        Parent(name=str(item["name"]), licence=str(item["license"]), relation=" and ".join(item["relations"]))
        for item in said["parents"]
    ]
    if said["start"] and not any(set(item["relations"]) - OTHERWISE for item in said["parents"]):
        kind = str(said["kinds"][0])
        parents.append(Parent(name="imported weights", licence=str(said["start"]["license"]), relation=kind))
    parents += [
        Parent(name=f"weights {item['weights_sha256'][:12]}", licence=str(item["license"]), relation="merge")
        for item in said["merged"]
        if not item["root"]
    ]
    return parents
