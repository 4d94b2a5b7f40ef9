from release.layout import describe, shipped

SOURCES = {"wiki": "CC-BY-SA-4.0", "wiki-en": "CC0-1.0"}


def test_checkpoints_are_shipped_at_the_asked_steps_and_the_last() -> None:
    paths = [f"checkpoints/step-{step:06d}/model.safetensors" for step in (20, 40, 60, 80, 100, 110)]
    assert list(shipped("train", ["ledger.jsonl", *paths], every=40).values()) == [
        "logs/ledger.jsonl",
        *(f"checkpoints/step-{step:06d}/model.safetensors" for step in (40, 80, 110)),
    ]


def test_downloads_and_training_documents_stay_behind() -> None:
    fetched = ["archives/wiki/a.whl", "evidence/wiki/LICENSE", "sources.json"]
    assert list(shipped("fetch", fetched, every=1).values()) == ["data/evidence/wiki/LICENSE", "data/sources.json"]
    cleaned = ["train/wiki-00000.jsonl", "dropped.jsonl", "heldout/wiki.jsonl", "report.json"]
    assert list(shipped("clean", cleaned, every=1).values()) == ["data/heldout/wiki.jsonl", "data/report.json"]


def test_the_corpus_is_described_at_the_top_of_its_folder() -> None:
    described = ["CARD.md", "croissant.json", "leaves.jsonl", "manifest.json"]
    assert list(shipped("manifest", described, every=1).values()) == [f"data/{name}" for name in described]


def test_text_keeps_its_sources_licence_and_the_rest_has_the_runs_or_the_codes() -> None:
    licenses = {
        path: describe(path, sources=SOURCES, license_of_run="MIT", kept={})[1]
        for path in (
            "data/pack/wiki-00000.bin",
            "data/pack/wiki-en-00000.bin",
            "data/heldout/wiki-en.jsonl",
            "data/evidence/wiki/COPYING",
            "data/pack/order.json",
            "weights/final/model.safetensors",
            "verify.sh",
        )
    }
    assert list(licenses.values()) == ["CC-BY-SA-4.0", "CC0-1.0", "CC0-1.0", "CC-BY-SA-4.0", "MIT", "MIT", "Apache-2.0"]
