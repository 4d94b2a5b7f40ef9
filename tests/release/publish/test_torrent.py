"""The torrent: the same bytes each time, the ids that libtorrent computes, and a real transfer on this machine."""

import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, DataError
from release.manifest import first_flaw
from release.publish.bencode import decode, encode
from release.publish.fetch import main as fetch_main
from release.publish.parts import bundle_parts
from release.publish.push import main
from release.publish.torrent import magnet, make_info, merkle_root, piece_size, web_seed
from tests.data.flaky import Site
from tests.release.publish.conftest import contents, put_on

DEADLINE_S = 120.0
NETWORK = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
}


@pytest.fixture
def made(tiny: Path, tmp_path: Path) -> Path:
    """The bundle's .torrent."""
    main([str(tiny), "--to", str(tmp_path / "tiny.torrent")])
    return tmp_path / "tiny.torrent"


@pytest.fixture(scope="module")
def libtorrent() -> Any:
    """The library that most clients are made of."""
    return pytest.importorskip("libtorrent", reason="libtorrent==2.1.1 is not installed: nothing to transfer with")


def test_bencode_is_that_of_the_specification() -> None:
    value = {"spam": [b"a", 12, -3], b"cow": b"moo", "": {}}
    assert encode(value) == b"d0:de3:cow3:moo4:spaml1:ai12ei-3eee"
    assert encode(decode(encode(value), where="x")) == encode(value)


@pytest.mark.parametrize(
    "content", [b"", b"i1", b"i01e", b"5:abc", b"-1:a", b"d1:b0:1:a0:e", b"di1e0:e", b"i1ei2e", b"l" * 100, b"x"]
)
def test_what_is_no_bencode_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="is no torrent"):
        decode(content, where="x")


def test_the_same_bundle_gives_the_same_torrent_and_another_byte_another(
    tiny: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, changed = made.read_bytes(), made.stat().st_mtime_ns
    said = []
    for _ in range(2):
        main([str(tiny), "--to", str(made)])
        said.append(capsys.readouterr().out)
    assert made.read_bytes() == first and made.stat().st_mtime_ns == changed
    assert said[0] == said[1]
    (tiny / "attestations/release.dsse.json").write_bytes(b"[]\n")
    main([str(tiny), "--to", str(made)])
    assert made.read_bytes() != first


def test_a_merkle_root_is_filled_up_with_what_is_not_there() -> None:
    leaves = [bytes([number]) * 32 for number in range(3)]
    assert merkle_root(leaves) == merkle_root([*leaves, bytes(32)])
    assert merkle_root([*leaves, *leaves]) == merkle_root([*leaves, *leaves, *[bytes(32)] * 2])
    assert merkle_root(leaves[:1]) == leaves[0]


def test_pieces_grow_with_the_release() -> None:
    assert [piece_size(total) for total in (0, 2000 << 16, (2000 << 16) + 1, 1 << 50)] == [
        1 << 16,
        1 << 16,
        1 << 17,
        1 << 24,
    ]


def test_libtorrent_finds_the_same_ids(made: Path, libtorrent: Any) -> None:
    info = libtorrent.torrent_info(str(made))
    hashes = info.info_hashes()
    assert hashes.has_v1() and hashes.has_v2()
    record = decode(made.read_bytes(), where="x")[b"info"]
    link = magnet(record, name="tiny", trackers=[], seeds=[])
    assert f"btih:{hashes.v1}&xt=urn:btmh:1220{hashes.v2}&dn=tiny" in link
    assert libtorrent.parse_magnet_uri(link).info_hashes == hashes


def transfer(libtorrent: Any, made: Path, seed: Path, leech: Path) -> bool:
    """Let one client give the release from `seed` (which it believes to have) to another; whether it came whole."""
    giving = libtorrent.session(NETWORK | {"disable_hash_checks": True})
    taking = libtorrent.session(NETWORK | {"alert_mask": libtorrent.alert.category_t.all_categories})
    given, taken = (libtorrent.load_torrent_file(str(made)) for _ in range(2))
    given.save_path, taken.save_path = str(seed), str(leech)
    given.flags |= libtorrent.torrent_flags.seed_mode
    seeding = giving.add_torrent(given)
    leech.mkdir()
    torrent = taking.add_torrent(taken)
    deadline = time.monotonic() + DEADLINE_S
    # Who is asked before being ready is asked again only 15 seconds later.
    while not (seeding.status().is_seeding and giving.listen_port()) and time.monotonic() < deadline:
        giving.wait_for_alert(50)
        giving.pop_alerts()
    torrent.connect_peer(("127.0.0.1", giving.listen_port()))
    while time.monotonic() < deadline:
        taking.wait_for_alert(200)
        said = {alert.what() for alert in taking.pop_alerts()}
        if "hash_failed" in said or torrent.status().is_seeding:
            return "hash_failed" not in said
    raise AssertionError(f"nothing came: {torrent.status().state}")


def test_a_client_gets_the_bundle_from_another_and_fetch_takes_it_from_there(
    tiny: Path, made: Path, tmp_path: Path, libtorrent: Any
) -> None:
    assert transfer(libtorrent, made, tiny.parent, tmp_path / "leech")
    fetch_main([str(tmp_path / "leech" / "tiny"), "--to", str(tmp_path / "got")])
    assert contents(tmp_path / "got") == contents(tiny)


def test_a_client_refuses_a_seed_with_a_flipped_bit(tiny: Path, made: Path, tmp_path: Path, libtorrent: Any) -> None:
    path = tiny / "weights/small.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert not transfer(libtorrent, made, tiny.parent, tmp_path / "leech")


def test_a_web_seed_is_where_fetch_reads(tiny: Path, site: Site, tmp_path: Path) -> None:
    put_on(site, tiny)
    path = tmp_path / "tiny.torrent"
    told = tmp_path / "told.json"
    main([str(tiny), "--to", str(path), "--mirrors", str(told), "--tracker", "udp://tracker.example:1"])
    assert b"url-list" not in path.read_bytes() and b"8:announce23:udp://tracker.example:1" in path.read_bytes()
    with pytest.raises(ConfigError, match="names no web server; let a torrent client"):
        fetch_main([str(path), "--to", str(tmp_path / "got")])
    told.write_bytes(told.read_bytes().replace(b'"magnet:', f'"{site.url}/tiny","magnet:'.encode()))
    main([str(tiny), "--to", str(path), "--mirrors", str(told)])
    fetch_main([str(path), "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == "" and sum(site.asked.values()) > 0


def test_a_web_seed_has_the_torrents_name() -> None:
    assert web_seed("https://h/a/tiny/", "tiny") == "https://h/a/"
    assert web_seed("https://h/a/other", "tiny") == web_seed("s3://b/tiny", "tiny") == ""


def test_a_file_that_changes_meanwhile_is_seen(tiny: Path) -> None:
    parts = bundle_parts(tiny)
    (tiny / "README.md").write_bytes(b"A bundle\n")
    with pytest.raises(DataError, match=r"README\.md changed while"):
        make_info(tiny, parts, name="tiny")
