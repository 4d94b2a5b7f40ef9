import json
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from core.artifact import Artifact, current
from core.errors import ConfigError, DataError
from data.clean import main as clean_main
from data.cleaning.publish import DROPPED_TEXTS
from data.documents import read_documents
from data.inspection.blocks import EDGES, Figure, Histogram, bin_of, visible
from data.inspection.choice import First, drawn
from data.inspection.cleaned import NOT_KEPT, blocks
from data.inspection.inspect import main
from data.inspection.page import HEIGHT, draw, render
from data.pack import main as pack_main
from data.sources.fetch import main as fetch_main
from data.tokenizer import main as tokenizer_main
from tests.conftest import write_recipe

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WINDOW = 900
# What a page must not let through: markup, what cannot be seen, what turns the line around, and lines without an end.
HOSTILE = [
    "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>" + " & </pre></article><h1>out" * 3,
    "escape \x1b[31mred\x07 bell, \u200bzero width, \ufeff mark, \u2028 separator, \u202edrawkcab\u202c, \u2067isolate",
    "هذا نص عربي طويل بما يكفي ليبقى في المدونة ويظهر من اليمين إلى اليسار كما ينبغي له أن يظهر في الصفحة",
    "one line without an end " + "x" * 20_000,
    "e" + "\u0301" * 400 + " marks upon marks, and then a little more text so that it stays",
    "{{ 7 * 7 }} {% raw %} template's own marks, which mean nothing here, and then a little more text to stay",
    "人人生而自由、在尊严和权利上一律平等。他们赋有理性和良心、并应以兄弟关系的精神相对待。" * 3,
]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page: tags with their attributes, and the text of all samples."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.samples: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "pre":
            self.samples.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "pre" in self._open:
            self.samples[-1] += data


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose stages have been run, with a third source, of hostile texts and one that is dropped."""
    folder = tmp_path_factory.mktemp("inspect")
    path = write_recipe(folder)
    lines = [json.dumps({"text": text}) for text in [*HOSTILE, "too short"]]
    (folder / "corpus" / "hostile.jsonl").write_text("\n".join(lines), encoding="utf-8")
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    item = {"name": "hostile", "kind": "files", "path": f"{folder}/corpus/hostile.jsonl"}
    whole["sources"]["items"].append({**item, "license": "CC0-1.0", "language": "mul"})
    whole["clean"]["filters"] = {"max_word_chars": 1_000_000}
    whole["pack"]["weights"]["hostile"] = 1
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    for stage in (fetch_main, clean_main, tokenizer_main, pack_main):
        stage([str(path)])
    return path


def page_of(recipe: Path, out: Path, *arguments: str) -> str:
    main([str(recipe), "--out", str(out), *arguments])
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of all stages that shows every hostile text."""
    return page_of(recipe, tmp_path_factory.mktemp("page") / "all.html", "--samples", "10")


def cleaned(recipe: Path) -> Artifact:
    return current(recipe.parent / "runs", "clean")


def test_the_same_artifacts_and_seed_give_the_same_bytes_wherever_they_lie(recipe: Path, tmp_path: Path) -> None:
    first = page_of(recipe, tmp_path / "a.html")
    shutil.copytree(recipe.parent / "runs", tmp_path / "runs")
    assert page_of(recipe, tmp_path / "b.html", f"run.inputs={tmp_path}/runs") == first
    other = page_of(recipe, tmp_path / "c.html", "--seed", "1")
    assert Page(other).samples != Page(first).samples
    assert str(tmp_path) not in first and str(recipe.parent) not in first


def test_every_stage_has_a_page_and_its_path_is_the_result(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("fetch", "clean", "tokenizer", "pack"):
        main([str(recipe), "--stage", stage, "--samples", "2"])
        out = Path(capsys.readouterr().out.strip())
        assert out == recipe.parent / "runs" / f"inspect-{stage}.html"
        ids = [
            attributes.get("id") for tag, attributes in Page(out.read_text(encoding="utf-8")).tags if tag == "section"
        ]
        assert ids == [stage]


def test_the_page_shows_the_counts_of_the_report(recipe: Path, whole: str) -> None:
    report = json.loads((cleaned(recipe).folder / "report.json").read_bytes())
    rows = [re.sub(r"<.*?>", "|", row) for row in re.findall("<tr>.*?</tr>", whole)]
    for name, one in report["sources"].items():
        row = next(row for row in rows if row.startswith(f"||{name}||{one['in']['documents']:,}||"))
        assert f"||{one['train']['documents']:,} · " in row and f"||{one['dropped']['documents']:,} · " in row
    for reason, count in report["total"]["dropped"]["reasons"].items():
        assert any(row.startswith(f"||{reason}||{count:,} · ") for row in rows)


def test_the_page_needs_nothing_else_and_runs_nothing(whole: str) -> None:
    tags = Page(whole).tags
    assert {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "embed", "form", "base"} == set()
    references = [value for _, attributes in tags for name, value in attributes.items() if name in ("href", "src")]
    assert references and all(str(value).startswith("#") for value in references)
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "url(" not in whole and "@import" not in whole


def test_hostile_texts_are_shown_as_text_and_hide_nothing(recipe: Path, whole: str) -> None:
    shown = "".join(Page(whole).samples)
    assert "<script>document.title = 'taken'</script><img src=x" in shown
    assert "{{ 7 * 7 }}" in shown
    assert "␛[31mred␇ bell, ⟨U+200B⟩zero width" in shown and "⟨U+202E⟩drawkcab⟨U+202C⟩" in shown
    assert set("\x07\x1b\u200b\u2028\u202e\u202c\u2067\ufeff").isdisjoint(whole)
    assert max(map(len, Page(whole).samples)) < 2500


def test_windows_of_the_pack_are_text_of_the_documents(recipe: Path, tmp_path: Path) -> None:
    page = Page(page_of(recipe, tmp_path / "pack.html", "--stage", "pack", "--samples", "4"))
    texts = "\n".join(d.text for path in (cleaned(recipe).folder / "train").iterdir() for d in read_documents(path))
    seen = [part for one in page.samples for part in re.split("⟨bos⟩|⟨eos⟩", one) if part.strip() and "⟨" not in part]
    plain = [part.strip("\n\ufffd") for part in seen]
    assert plain and sum(part in texts for part in plain) > 0.8 * len(plain)


def test_phases_limits_and_what_a_parent_gave_are_shown(recipe: Path, tmp_path: Path) -> None:
    parent = packed(recipe, tmp_path / "parent", weights={"alpha": 1})
    order = {"order": str(parent.folder / "order.json"), "sha256": parent.facts["data_root"]}
    phases = [{"name": "early", "weights": {"beta": 1}}, {"name": "late", "start": 50, "weights": {"hostile": 1}}]
    base = {**order, "share": 300, "consumed": 0}
    packed(recipe, tmp_path / "child", phases=phases, base=base, max_epochs={"beta": 4})
    page = page_of(recipe, tmp_path / "a.html", f"run.inputs={tmp_path}/child", "--stage", "pack")
    rows = [re.sub("<.*?>", "|", row) for row in re.findall("<tr>.*?</tr>", page)]
    for first in ("alpha.*the parent.*none", r"beta.*\d\.\d\d.*4", "early.*0.*alpha.*30", "late.*50.*hostile"):
        assert any(re.match(rf"\|\|{first}", row) for row in rows), first
    assert "The tokenizer that made the ids is not there" in Page(page).text


def packed(recipe: Path, out: Path, **pack: object) -> Artifact:
    """Another pack of the recipe's documents."""
    out.mkdir()
    whole = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    whole["pack"] = {"seed": 1, "seq_len": 16, **pack}
    whole["run"] |= {"inputs": whole["run"]["out"], "out": str(out)}
    (out / "recipe.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    pack_main([str(out / "recipe.yaml")])
    return current(out, "pack")


def test_texts_of_dropped_documents_are_shown_by_reason_or_it_says_how_to_keep_them(
    recipe: Path, whole: str, tmp_path: Path
) -> None:
    assert NOT_KEPT in Page(whole).text
    there = f"run.inputs={recipe.parent}/runs"
    clean_main([str(recipe), there, f"run.out={tmp_path}", "data.keep_dropped=true"])
    page = page_of(recipe, tmp_path / "a.html", f"run.inputs={tmp_path}", "--stage", "clean")
    assert NOT_KEPT not in Page(page).text
    assert "Lengths of documents that are dropped" in Page(page).text
    _, _, dropped = page.partition("<h3>Dropped as too_few_chars</h3>")
    assert Page(f"<div>{dropped.partition('<h3>')[0].partition('</section>')[0]}</div>").samples == ["\ntoo short"]


def test_a_torn_list_of_dropped_texts_is_bad_data(recipe: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(cleaned(recipe).folder, tmp_path / "clean")
    (folder / DROPPED_TEXTS).mkdir()
    (folder / DROPPED_TEXTS / "alpha.jsonl").write_text('{"key": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"alpha\.jsonl line 1 is no dropped document"):
        list(blocks(Artifact(folder=folder, digest="", record=cleaned(recipe).record), samples=2, seed=0))


def test_what_is_chosen_does_not_depend_on_the_order() -> None:
    source = random.Random(3)
    items = [f"text {number}" for number in range(500)]
    choices = []
    for _ in range(5):
        source.shuffle(items)
        first: First[str] = First(7)
        for item in items:
            first.offer(drawn(4, item), item)
        choices.append(list(first))
    assert choices[0] == sorted(items, key=lambda item: drawn(4, item))[:7]
    assert all(choice == choices[0] for choice in choices)
    assert sorted(items, key=lambda item: drawn(5, item))[:7] != choices[0]
    nothing: First[str] = First(0)
    nothing.offer((1,), "never")
    assert list(nothing) == []


def test_a_histogram_counts_every_value_in_the_bin_that_holds_it() -> None:
    values = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 10**15]
    assert [EDGES[bin_of(value)] for value in values[:-1]] == [0, 1, 2, 3, 4, 4, 6, 6, 8, 8, 12]
    counts = Counter(map(bin_of, values))
    (drawing,) = draw(Figure(title="t", histograms=[Histogram(title="h", counts=counts)], unit="B"))
    assert sum(int(bar.says.split(": ")[1].split()[0]) for bar in drawing.bars) == len(values)
    assert max(bar.height for bar in drawing.bars) == HEIGHT
    assert "4 B to below 6 B: 2 documents" in [bar.says for bar in drawing.bars]
    assert list(draw(Figure(title="t", histograms=[Histogram(title="h", counts={})], unit="B"))) == []


def test_plain_text_stays_as_it_is_and_emoji_stay_whole() -> None:
    for text in ("plain\n\ttext", "👩‍👩‍👧 family", "汉字", "नमस्ते"):
        assert "".join(run.text for run in visible(text)) == text
    assert [run.is_mark for run in visible("a\x00b")] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "-1"], "--samples is -1"),
        (["--stage", "train"], "invalid choice: 'train'.*usage"),
        (["--out", "/nowhere/at/all.html"], "no folder /nowhere/at"),
        (["--colour"], "usage"),
        (["run.nam=x"], "section run.*nam"),
    ],
)
def test_a_mistake_of_the_user_is_one_clear_line(recipe: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main([str(recipe), *arguments])


def test_what_has_not_been_run_and_what_is_damaged_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no stage of data has been run"):
        main([str(recipe), f"run.out={tmp_path}"])
    with pytest.raises(DataError, match="stage clean has not been run"):
        main([str(recipe), f"run.out={tmp_path}", "--stage", "clean"])
    shutil.copytree(recipe.parent / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.html"))
    path = next((tmp_path / "runs").glob("clean-*/train/alpha-00000.jsonl"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"alpha-00000\.jsonl has SHA-256"):
        main([str(recipe), f"run.out={tmp_path}/runs", "--stage", "clean"])
    assert not list((tmp_path / "runs").glob("*.html"))


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed; Debian's package is chromium")
def test_a_browser_shows_every_sample_and_no_text_widens_the_page(whole: str, tmp_path: Path) -> None:
    measure = "<script>document.title = [innerWidth, document.documentElement.scrollWidth].join()</script>"
    policy = re.compile("<meta http-equiv.*?>")
    # As it is, the policy forbids the script that measures: the title stays. Without the policy it measures.
    assert "<title>Data: all stages</title>" in dom(whole + measure, tmp_path)
    seen = dom(policy.sub("", whole) + measure, tmp_path)
    assert f"<title>{WINDOW},{WINDOW}</title>" in seen
    assert seen.count("<article>") == whole.count("<article>") > 50
    assert seen.count("<rect ") == whole.count("<rect ") > 20
    wide = render("w", []).decode().replace("</body>", f"<p>{'x' * 5000}</p></body>")
    assert f"<title>{WINDOW},{WINDOW}</title>" not in dom(policy.sub("", wide) + measure, tmp_path)


def dom(content: str, folder: Path) -> str:
    """A page as the browser holds it after loading."""
    path = folder / "page.html"
    path.write_text(content, encoding="utf-8")
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [*command, f"--window-size={WINDOW},800", "--hide-scrollbars", "--dump-dom", path.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    return done.stdout.decode()
