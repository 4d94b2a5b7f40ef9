"""The page of `verify --report`: findings, what others signed, and the witness's cost, in one file."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from core.errors import ConfigError
from release.contents import Bundle, open_bundle
from release.openness.verified import check_report, verified_page
from release.signing.attestations import write_verification
from release.signing.keys import generate, read_private
from release.signing.statements import verification_statement
from release.verdict import Finding, Verdict
from release.verify import verify
from tests.conftest import run_module
from tests.release.forgery import flip_bit

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 390
FINDINGS = [
    Finding(check="integrity", verdict=Verdict.PASS, detail="72 files", cannot_catch="lies"),
    Finding(check="audit", verdict=Verdict.INCONCLUSIVE, detail="<script>alert(1)</script> & more"),
]


def shown(bundle: Bundle, findings: list[Finding], *, level: str = "V1") -> str:
    return verified_page(bundle, findings, level=level, made="2026-01-02T03:04:05", confined="code was confined")


def attested(bundle: Bundle, folder: Path, *, by: str) -> Path:
    """Another's word in the bundle; returns its public key."""
    public = generate(folder / "verifier")
    said = verification_statement(bundle, FINDINGS[:1], level="V1", verifier={"name": by}, made="2026-01-01T00:00:00")
    write_verification(bundle, said, read_private(folder / "verifier"), level="V1")
    return public


def test_verify_writes_the_page_with_its_verdicts_and_all_that_the_release_says(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "verified.html"
    done = run_module("release", "verify", bundle.folder, "--level", "V1", "--report", out)
    assert done.returncode == 0, done.stderr
    page = out.read_text()
    assert "V1 integrity: 3 of 3 checks PASS." in page
    assert bundle.root in page
    for heading in ("Verified", "What others signed", "Loss, step by step", "How the data flowed", "What is inside"):
        assert f"<h2>{heading}</h2>" in page
    assert "cannot vouch for it" not in page
    assert "device_hours.redo" in page and "measured" in page


def test_a_failed_bundle_gets_its_page_too(bundle: Bundle, tmp_path: Path) -> None:
    flip_bit(bundle.folder / "weights/final/model.safetensors")
    out = tmp_path / "verified.html"
    done = run_module("release", "verify", bundle.folder, "--level", "V1", "--report", out)
    assert done.returncode == 66
    assert "FAIL in integrity" in out.read_text()


def test_what_cannot_be_graded_still_shows_its_findings(bundle: Bundle) -> None:
    (bundle.folder / "data/manifest.json").write_text("[" * 5000)
    page = shown(bundle, list(verify(bundle, level="V1")))
    assert "FAIL in integrity" in page
    assert "The rest cannot be shown" in page


def test_nothing_that_a_bundle_says_is_markup(bundle: Bundle, tmp_path: Path) -> None:
    bundle.verifiers = [attested(bundle, tmp_path, by="<b>Lab</b>")]
    page = shown(bundle, FINDINGS)
    assert "<script>" not in page and "<b>Lab</b>" not in page
    assert html.escape("<script>alert(1)</script> & more") in page
    assert html.escape("<b>Lab</b>") in page


def test_another_verifiers_word_counts_only_by_a_key_that_was_given(bundle: Bundle, tmp_path: Path) -> None:
    public = attested(bundle, tmp_path, by="Lab")
    row = re.search("<tr>.*?Lab.*?</tr>", shown(bundle, FINDINGS))
    assert row and "not given, so it counts for nothing" in row[0] and 'class="missing' in row[0]
    bundle.verifiers = [public]
    row = re.search("<tr>.*?Lab.*?</tr>", shown(bundle, FINDINGS))
    assert row and "counts for nothing" not in row[0] and 'class="present' in row[0]


def test_a_page_inside_the_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the bundle"):
        check_report(bundle.folder / "report/verified.html", bundle)
    with pytest.raises(ConfigError, match="cannot be written"):
        check_report(tmp_path / "no/such/folder.html", bundle)
    done = run_module("release", "verify", bundle.folder, "--level", "V1", "--report", bundle.folder / "x.html")
    assert done.returncode == 64


def test_the_page_needs_no_network(bundle: Bundle) -> None:
    page = shown(bundle, FINDINGS)
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import|src=", page)


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed; Debian's package is chromium")
def test_a_browser_shows_it_on_a_phone_without_scrolling_sideways(bundle: Bundle, tmp_path: Path) -> None:
    bundle.verifiers = [attested(bundle, tmp_path, by="Lab")]
    page = shown(bundle, FINDINGS)
    wide = page.replace("</main>", f'<p style="white-space:nowrap">{"wide " * 200}</p></main>')
    assert width_on_a_phone(page, tmp_path) == PHONE
    assert width_on_a_phone(wide, tmp_path) > PHONE


def width_on_a_phone(content: str, folder: Path) -> int:
    """How wide a page is, in a frame of a phone's width: a browser's own window has a least width above it."""
    measure = "document.title = document.getElementById('f').contentDocument.documentElement.scrollWidth"
    frame = f'<iframe id="f" width="{PHONE}" height="800" style="border:0" srcdoc="{html.escape(content)}"'
    path = folder / "frame.html"
    path.write_text(f'<!doctype html><title>none</title>{frame} onload="{measure}"></iframe>', encoding="utf-8")
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [*command, "--hide-scrollbars", "--dump-dom", path.as_uri()], capture_output=True, timeout=120, check=True
    )
    found = re.search(r"<title>(\d+)</title>", done.stdout.decode())
    assert found, done.stderr.decode()[-500:]
    return int(found[1])


def test_the_bundle_itself_has_no_verdict_on_its_page(bundle: Bundle) -> None:
    page = (open_bundle(bundle.folder).folder / "report/index.html").read_text()
    assert "<h2>Verified</h2>" not in page
    assert "cannot vouch for it" in page
