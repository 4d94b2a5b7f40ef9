"""What is gone or differs is said of ours and of others' releases, and what is whole is not."""

import hashlib
import json
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, RetryError
from core.hashing import canonical_json, sha256_hex
from release.manifest import manifest_root
from release.publish.links import main
from tests.conftest import run_module
from tests.data.flaky import Site
from tests.release.publish.conftest import put_on

Said = pytest.CaptureFixture[str]


def test_a_published_release_that_is_whole_exits_0_and_a_rotten_one_66(published: Path) -> None:
    done = run_module("release", "check-links", published)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"9 whole, 0 gone, 0 differs, 0 unreachable, root {manifest_root(published)}\n")
    (published / "README.md").unlink()
    (published / "witness/journal.jsonl").write_bytes(b"other")
    done = run_module("release", "check-links", published)
    assert done.returncode == 66
    said = [line.split()[:2] for line in done.stdout.splitlines()]
    assert said[:2] == [["gone", "README.md:"], ["differs", "witness/journal.jsonl:"]]
    assert "7 whole, 1 gone, 1 differs" in done.stdout


def test_every_copy_that_a_release_tells_of_is_walked(published: Path, site: Site, capsys: Said) -> None:
    address = put_on(site, published)
    record = json.loads((published / "mirrors.json").read_bytes())
    record["mirrors"] = [address, f"{site.url}/gone", "magnet:?xt=urn:btih:0"]
    (published / "mirrors.json").write_bytes(canonical_json(record))
    del site.files["/tiny/README.md"]
    with pytest.raises(DataError, match=f"{address}, {site.url}/gone: not as it was published"):
        main([str(published)])
    said = capsys.readouterr().out
    assert f"{published}: 9 whole" in said and f"{address}: 8 whole, 1 gone" in said
    assert f"{site.url}/gone: 0 whole, 1 gone" in said


def test_a_copy_of_another_release_differs(published: Path, site: Site, capsys: Said) -> None:
    address = put_on(site, published)
    record = json.loads((published / "mirrors.json").read_bytes()) | {"mirrors": [address]}
    (published / "mirrors.json").write_bytes(canonical_json(record))
    site.files["/tiny/MANIFEST.jsonl"] = b""
    with pytest.raises(DataError, match=address):
        main([str(published)])
    assert "is that of another release" in capsys.readouterr().out


def test_what_cannot_be_reached_is_no_rot_and_exits_75(published: Path, site: Site, capsys: Said) -> None:
    address = put_on(site, published)
    site.faults = ["", "", *[500] * 100]
    with pytest.raises(RetryError, match="cannot be reached now"):
        main([address])
    assert "0 gone, 0 differs, 9 unreachable" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SHA256SUMS", "SHA512SUMS", "SHA1SUMS", "MD5SUMS"])
def test_others_lists_of_checksums_are_read(tmp_path: Path, capsys: Said, name: str) -> None:
    algorithm = name.removesuffix("SUMS").lower()
    rows = {"a b.txt": b"one", "c": b"two", "d": b"three"}
    lines = [f"{hashlib.new(algorithm, content).hexdigest()} *./{file}\n" for file, content in rows.items()]
    (tmp_path / name).write_text("".join(lines))
    for file, content in rows.items():
        (tmp_path / file).write_bytes(content)
    main([str(tmp_path)])
    assert "3 whole, 0 gone, 0 differs" in capsys.readouterr().out
    (tmp_path / "a b.txt").write_bytes(b"One")
    (tmp_path / "c").unlink()
    with pytest.raises(DataError, match="not as it was published"):
        main([str(tmp_path)])
    assert "1 whole, 1 gone, 1 differs" in capsys.readouterr().out


def test_a_list_on_a_web_server_is_walked_and_a_broken_one_refused(site: Site) -> None:
    site.files = {"/x/SHA256SUMS": f"{sha256_hex(b'one')}  one\n".encode(), "/x/one": b"one"}
    main([f"{site.url}/x"])
    site.files["/x/one"] = b"two"
    with pytest.raises(DataError, match="not as it was"):
        main([f"{site.url}/x"])
    for content, says in ((b"hello\n", "is no line of checksum"), (b"0" * 64 + b"  ../x\n", "leads out")):
        site.files["/x/SHA256SUMS"] = content
        with pytest.raises(DataError, match=says):
            main([f"{site.url}/x"])


def write_weights(path: Path) -> bytes:
    """A safetensors file with one tensor."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    path.write_bytes(content)
    return content


def test_a_hugging_face_download_is_held_against_what_the_client_left(tmp_path: Path, capsys: Said) -> None:
    content = write_weights(tmp_path / "model.safetensors")
    (tmp_path / "README.md").write_bytes(b"card")
    left = tmp_path / ".cache/huggingface/download"
    left.mkdir(parents=True)
    (left / "model.safetensors.metadata").write_text(f"{'1' * 40}\n{sha256_hex(content)}\n1.0\n")
    blob = hashlib.sha1(b"blob 4\0card").hexdigest()
    (left / "README.md.metadata").write_text(f"{'1' * 40}\n{blob}\n1.0\n")
    main([str(tmp_path)])
    assert "2 whole, 0 gone, 0 differs" in capsys.readouterr().out
    (tmp_path / "README.md").write_bytes(b"Card")
    with pytest.raises(DataError, match="not as it was"):
        main([str(tmp_path)])
    assert "differs     README.md: has git" in capsys.readouterr().out


def test_a_hub_cache_is_held_against_the_names_of_its_blobs(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "blobs").mkdir()
    snapshot = tmp_path / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    content = write_weights(tmp_path / "blobs" / "x")
    (tmp_path / "blobs" / "x").rename(tmp_path / "blobs" / sha256_hex(content))
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{sha256_hex(content)}")
    main([str(snapshot)])
    assert "1 whole, 0 gone" in capsys.readouterr().out
    (tmp_path / "blobs" / sha256_hex(content)).unlink()
    with pytest.raises(DataError, match="not as it was"):
        main([str(snapshot)])
    assert "gone        model.safetensors: a link that leads nowhere" in capsys.readouterr().out


def test_weights_without_a_list_are_judged_by_their_form_and_that_is_said(tmp_path: Path, capsys: Said) -> None:
    content = write_weights(tmp_path / "a.safetensors")
    main([str(tmp_path)])
    assert "no hash is known of 1 files with weights" in capsys.readouterr().out
    (tmp_path / "a.safetensors").write_bytes(content[:-1])
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "b.safetensors"}}')
    (tmp_path / "c.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match="not as it was"):
        main([str(tmp_path)])
    said = capsys.readouterr().out
    assert "gone        b.safetensors: named by model.safetensors.index.json" in said
    assert "differs     a.safetensors: is cut short" in said
    assert "gone        c.bin: a Git LFS pointer" in said


def test_what_is_no_release_is_one_clear_line(tmp_path: Path, site: Site) -> None:
    with pytest.raises(ConfigError, match="has neither MANIFEST"):
        main([str(tmp_path)])
    with pytest.raises(ConfigError, match="neither an address nor a folder"):
        main([str(tmp_path / "nothing")])
    with pytest.raises(DataError, match="has neither MANIFEST"):
        main([f"{site.url}/x"])
