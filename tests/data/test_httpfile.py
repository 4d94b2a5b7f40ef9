import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, RetryError
from data.clean import main as clean_main
from data.sources.download import Attempts, Manners, keep
from data.sources.fetch import main as fetch_main
from data.sources.httpfile import Clock, Web
from tests.conftest import run_module
from tests.data.flaky import Site, serving
from tests.data.index import make_wheel

CONTENT = b"".join(b"line %d of a file on the web\n\n" % number for number in range(10_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Timer:
    """A clock that waits in no time and keeps account of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(now_s=lambda: self.now, wait_s=self.wait, date=lambda: NOON)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with one file."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as found:
        found.files["/a.txt"] = CONTENT
        yield found


@pytest.fixture
def timer() -> Timer:
    return Timer()


def web(timer: Timer, *, request_wait_s: float = 0.0) -> Web:
    attempts = Attempts(count=3, wait_s=1.0)
    manners = Manners(attempts=attempts, request_wait_s=request_wait_s, retry_after_max_s=60)
    return Web(manners, timer.clock())


def fetch(site: Site, folder: Path, timer: Timer, *, path: str = "/a.txt", sha256: str = SHA256) -> str:
    (folder / "cache" / "a").unlink(missing_ok=True)
    try:
        return download(web(timer), site.url + path, folder / "cache" / "a", sha256=sha256)
    finally:
        assert not list((folder / "cache").glob(".*")), "something half-written was left"


def download(client: Web, url: str, target: Path, *, sha256: str = SHA256) -> str:
    """Keep what the client receives, and return the last ETag."""
    etags = []

    def receive(aside: Path) -> None:
        etags.append(client.receive(url, aside))

    keep(target, sha256, what=url, receive=receive)
    return etags[-1] if etags else ""


def test_a_file_arrives_whole_with_its_etag(site: Site, tmp_path: Path, timer: Timer) -> None:
    assert fetch(site, tmp_path, timer) == '"v1"'
    assert (tmp_path / "cache" / "a").read_bytes() == CONTENT
    assert (site.asked, timer.waits) == ({"/robots.txt": 1, "/a.txt": 1}, [])


def test_dropped_connections_are_taken_up_where_they_broke(site: Site, tmp_path: Path, timer: Timer) -> None:
    # More drops than attempts: each brought the file further.
    site.faults = ["drop"] * 4
    fetch(site, tmp_path, timer)
    assert (tmp_path / "cache" / "a").read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in site.ranges]
    assert starts == sorted(starts) and starts[0] == 0 and starts[-1] > len(CONTENT) * 0.8
    assert timer.waits == [1.0] * 4


def test_a_file_that_changed_in_between_is_begun_again(site: Site, tmp_path: Path) -> None:
    site.faults = ["drop"]
    timer = Timer()
    changing = Clock(now_s=lambda: timer.now, wait_s=lambda _: setattr(site, "etag", '"v2"'), date=lambda: NOON)
    client = Web(web(timer).manners, changing)
    assert download(client, f"{site.url}/a.txt", tmp_path / "a") == '"v2"'
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_from_the_start(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.is_range_ignored = True
    site.faults = ["drop", "drop"]
    fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] == 3
    site.faults = ["drop"] * 9
    with pytest.raises(DataError, match=f"declares {len(CONTENT)} bytes and ends after"):
        fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] <= 7


def test_another_range_than_asked_for_is_not_taken(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults, site.shift = ["drop"], 7
    fetch(site, tmp_path, timer)
    assert (tmp_path / "cache" / "a").read_bytes() == CONTENT
    assert [bool(asked) for asked in site.ranges] == [False, True, False]


def test_a_file_of_untold_length_that_breaks_off_is_caught_by_its_hash(
    site: Site, tmp_path: Path, timer: Timer
) -> None:
    site.is_length_told = False
    fetch(site, tmp_path, timer)
    site.faults = ["drop"]
    with pytest.raises(DataError, match=f"the recipe wants {SHA256}"):
        fetch(site, tmp_path, timer)


def test_what_a_run_without_network_left_is_gone_on_with(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults = ["drop", 500, 500, 500]
    with pytest.raises(RetryError, match="HTTP status 500"):
        download(web(timer), f"{site.url}/a.txt", tmp_path / "a")
    left = (tmp_path / ".a.part").read_bytes()
    assert left and CONTENT.startswith(left)
    site.ranges.clear()
    download(web(timer), f"{site.url}/a.txt", tmp_path / "a")
    assert site.ranges == [f"bytes={len(left)}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("wrong", [b"x" * 1000, CONTENT + b"longer"], ids=["short", "long"])
def test_what_was_left_of_another_file_is_begun_again(site: Site, tmp_path: Path, timer: Timer, wrong: bytes) -> None:
    (tmp_path / ".a.part").write_bytes(wrong)
    download(web(timer), f"{site.url}/a.txt", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert site.ranges == [f"bytes={len(wrong)}-", ""]


def test_two_processes_that_want_one_file_ask_for_it_once(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults, site.headers = [503], {"Retry-After": "1"}
    other = threading.Thread(target=download, args=(web(timer), f"{site.url}/a.txt", tmp_path / "a"))
    waiting = Clock(now_s=lambda: timer.now, wait_s=lambda _: other.start(), date=lambda: NOON)
    download(Web(web(timer).manners, waiting), f"{site.url}/a.txt", tmp_path / "a")
    other.join(timeout=120)
    assert not other.is_alive() and site.asked["/a.txt"] == 2
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_length_that_the_server_does_not_keep_is_bad_data(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.added = 1000
    with pytest.raises(DataError, match=f"declares {len(CONTENT) + 1000} bytes and has {len(CONTENT)}"):
        fetch(site, tmp_path, timer)
    site.added = -1000
    with pytest.raises(DataError, match=rf"has SHA-256 [0-9a-f]+, the recipe wants {SHA256}"):
        fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] <= 4


def test_a_wrong_hash_is_bad_data(site: Site, tmp_path: Path, timer: Timer) -> None:
    with pytest.raises(DataError, match=f"has SHA-256 {SHA256}, the recipe wants 0000"):
        fetch(site, tmp_path, timer, sha256="0" * 64)
    assert list((tmp_path / "cache").iterdir()) == []


def test_passing_answers_are_asked_again_after_longer_pauses(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults = [500, 503]
    fetch(site, tmp_path, timer)
    assert timer.waits == [1.0, 2.0]
    site.faults = [500] * 9
    with pytest.raises(RetryError, match="3 attempts, last: HTTP status 500"):
        fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] == 6


@pytest.mark.parametrize(("value", "wait_s"), [("7", 7.0), ("Sun, 22 Nov 2026 12:00:09 GMT", 9.0), ("soon", 1.0)])
def test_retry_after_is_heeded(site: Site, tmp_path: Path, timer: Timer, value: str, wait_s: float) -> None:
    site.faults, site.headers = [429], {"Retry-After": value}
    fetch(site, tmp_path, timer)
    assert timer.waits == [wait_s]


def test_a_server_that_asks_for_hours_is_left_for_later(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults, site.headers = [429], {"Retry-After": "7200"}
    with pytest.raises(RetryError, match="asks to wait 7200 s"):
        fetch(site, tmp_path, timer)
    assert timer.waits == []


@pytest.mark.parametrize(
    ("status", "message"), [(404, "is gone"), (410, "is gone"), (403, "refused with HTTP status 403")]
)
def test_a_refusal_is_not_asked_again(site: Site, tmp_path: Path, timer: Timer, status: int, message: str) -> None:
    site.faults = [status]
    with pytest.raises(DataError, match=message):
        fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] == 1


def test_robots_are_respected_also_behind_a_redirection(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.robots = "User-agent: *\nDisallow: /a\n"
    with pytest.raises(DataError, match=r"robots\.txt asks programs not to fetch /a\.txt"):
        fetch(site, tmp_path, timer)
    site.faults, site.headers = [302], {"Location": "/a.txt"}
    with pytest.raises(DataError, match=r"not to fetch /a\.txt"):
        fetch(site, tmp_path, timer, path="/b.txt")
    assert site.asked["/a.txt"] == 0 and site.asked["/b.txt"] == 1


def test_robots_that_the_server_cannot_tell_are_waited_for(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.robots_status = 500
    with pytest.raises(RetryError, match="HTTP status 500"):
        fetch(site, tmp_path, timer)
    assert site.asked == {"/robots.txt": 3}


def test_requests_to_a_host_keep_their_distance(site: Site, tmp_path: Path, timer: Timer) -> None:
    client = web(timer, request_wait_s=5.0)
    for name in "ab":
        download(client, f"{site.url}/a.txt", tmp_path / name)
    assert timer.waits == [5.0, 5.0]
    site.robots = "User-agent: *\nCrawl-delay: 8"
    slow = Web(client.manners, timer.clock())
    download(slow, f"{site.url}/a.txt", tmp_path / "c")
    assert timer.waits[2:] == [8.0]


def test_a_redirection_is_followed_and_an_endless_one_is_not(site: Site, tmp_path: Path, timer: Timer) -> None:
    site.faults, site.headers = [301], {"Location": "/a.txt"}
    fetch(site, tmp_path, timer, path="/old.txt")
    site.faults = [301] * 20
    with pytest.raises(DataError, match="more than 5 redirections"):
        fetch(site, tmp_path, timer)
    assert site.asked["/a.txt"] == 7


def test_no_server_asks_to_be_retried(tmp_path: Path, timer: Timer, site: Site) -> None:
    with pytest.raises(RetryError, match="3 attempts, last: ConnectionError"):
        download(web(timer), "http://127.0.0.1:1/a.txt", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def write_recipe(folder: Path, urls: str, *, more: str = "") -> Path:
    path = folder / "http.yaml"
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  request_wait_s: 0
  items:
    - {{name: web, kind: http, license: CC0-1.0, language: en, urls: [{urls}], {more}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{min_chars: 0, min_words: 0}}}}
""",
        encoding="utf-8",
    )
    return path


def test_files_of_the_web_become_documents_and_the_cache_needs_no_server(site: Site, tmp_path: Path) -> None:
    site.files["/LICENSE"] = b"free"
    license_sha256 = hashlib.sha256(b"free").hexdigest()
    urls = f"{{url: '{site.url}/a.txt', sha256: {SHA256}}}, {{url: '{site.url}/LICENSE', sha256: {license_sha256}}}"
    recipe = str(write_recipe(tmp_path, urls, more="evidence: [LICENSE]"))
    fetch_main([recipe])
    first = current(tmp_path / "runs", "fetch")
    assert [entry["path"] for entry in first.record["files"]] == [
        "archives/web/a.txt",
        "evidence/web/LICENSE",
        "sources.json",
    ]
    assert json.loads((first.folder / "witness/etags.json").read_bytes())[f"{site.url}/a.txt"] == '"v1"'
    clean_main([recipe])
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())
    assert report["total"]["in"]["documents"] == 10_000
    site.files.clear()
    asked = site.asked.total()
    fetch_main([recipe, "sources.items.0.language=fr"])
    assert site.asked.total() == asked
    with pytest.raises(DataError, match="no file of its urls matches 'COPYING'"):
        fetch_main([recipe, "sources.items.0.evidence=[COPYING]"])


def test_archives_of_the_web_are_read_by_member(site: Site, tmp_path: Path) -> None:
    content = make_wheel({"d/a.html": "<p>one</p>", "d/COPYING": "free", "d/setup.py": "raise SystemExit"})
    site.files["/d.zip"] = content
    urls = f"{{url: '{site.url}/d.zip?v=1', sha256: {hashlib.sha256(content).hexdigest()}}}"
    site.files["/d.zip?v=1"] = content
    recipe = str(write_recipe(tmp_path, urls, more="evidence: ['*/COPYING'], read: {members: ['*.html']}"))
    fetch_main([recipe])
    assert (current(tmp_path / "runs", "fetch").folder / "evidence/web/d/COPYING").read_bytes() == b"free"
    clean_main([recipe])
    report = json.loads((current(tmp_path / "runs", "clean").folder / "report.json").read_bytes())
    assert report["total"]["train"]["documents"] == 1


def test_a_wrong_hash_ends_in_one_line_and_exit_66_with_nothing_half_written(site: Site, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, f"{{url: '{site.url}/a.txt', sha256: {'1' * 64}}}")
    finished = run_module("data", "fetch", recipe)
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error:")]
    assert finished.returncode == 66 and len(errors) == 1
    assert f"{site.url}/a.txt has SHA-256 {SHA256}" in errors[0]
    assert "Traceback" not in finished.stderr
    assert list((tmp_path / "cache").iterdir()) == []
    assert not list((tmp_path / "runs").glob("fetch*"))


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ("", "lacks urls"),
        (f"{{url: 'ftp://a/b.txt', sha256: {SHA256}}}", "not one of http or https"),
        (f"{{url: 'http://user:secret@a/b.txt', sha256: {SHA256}}}", "without a password"),
        ("{url: 'http://a/b.txt', sha256: abc}", "64 lower-case hex digits"),
        (f"{{url: 'http://a/', sha256: {SHA256}}}", "no plain file name"),
        (f"{{url: 'http://a/b', sha256: {SHA256}, name: ../b}}", "no plain file name"),
        (f"{{url: 'http://a/b', sha256: {SHA256}}}, {{url: 'http://c/b', sha256: {SHA256}}}", "the same name"),
    ],
)
def test_a_mistake_in_the_urls_is_one_clear_line(tmp_path: Path, urls: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fetch_main([str(write_recipe(tmp_path, urls))])
    assert "secret" not in str(caught.value)
