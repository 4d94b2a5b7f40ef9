"""Writes files as a git bundle of one commit whose bytes depend on the files alone.

git itself chooses deltas, object order and compression by its version and by what the object store happens to hold.
So the pack is written here: every object whole, in a fixed order, in stored (uncompressed) zlib blocks. It clones
with plain `git clone`. Formats: gitformat-bundle(5) v2, gitformat-pack(5) v2, RFC 1950 and RFC 1951 section 3.2.4.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

FILE, EXECUTABLE, LINK = "100644", "100755", "120000"
FOLDER = "40000"
KINDS = {"commit": 1, "tree": 2, "blob": 3}
STORED_BLOCK_BYTES = 65535
AUTHOR = "Wholegrain <wholegrain> 0 +0000"
MESSAGE = "The code of this release, as it ran\n"
BRANCH = "refs/heads/main"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """A file of the code: git's mode and the content (of a link: where it points)."""

    mode: str
    content: bytes


@dataclass(slots=True)
class Pack:
    """Git objects by id, in the order in which they were added."""

    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def add(self, kind: str, content: bytes) -> str:
        """Add an object and return its id."""
        name = object_id(kind, content)
        self.objects.setdefault(name, (kind, content))
        return name


def object_id(kind: str, content: bytes) -> str:
    """Git's id of an object: SHA-1 of its header and content."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def tree_id(files: Mapping[str, CodeFile]) -> str:
    """Git's tree id of files by path: equal trees have equal files and modes."""
    return _add_tree(Pack(), files)


def git_bundle(files: Mapping[str, CodeFile]) -> bytes:
    """The bundle's bytes: one parentless commit of fixed author, date and message on branch main."""
    pack = Pack()
    commit = pack.add("commit", _commit(tree_id(files)))
    _add_tree(pack, files)
    header = f"# v2 git bundle\n{commit} HEAD\n{commit} {BRANCH}\n\n".encode()
    return header + _pack_bytes(pack)


def _commit(tree: str) -> bytes:
    return f"tree {tree}\nauthor {AUTHOR}\ncommitter {AUTHOR}\n\n{MESSAGE}".encode()


def _add_tree(pack: Pack, files: Mapping[str, CodeFile]) -> str:
    entries: dict[bytes, tuple[str, str]] = {}
    folders: dict[str, dict[str, CodeFile]] = {}
    for path, file in sorted(files.items()):
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = file
        else:
            entries[name.encode()] = (file.mode, pack.add("blob", file.content))
    for name, below in folders.items():
        # Git orders a folder as if its name ended in a slash.
        entries[name.encode() + b"/"] = (FOLDER, _add_tree(pack, below))
    rows = [
        f"{mode} ".encode() + name.removesuffix(b"/") + b"\0" + bytes.fromhex(child)
        for name, (mode, child) in sorted(entries.items())
    ]
    return pack.add("tree", b"".join(rows))


def _pack_bytes(pack: Pack) -> bytes:
    head = b"PACK" + (2).to_bytes(4, "big") + len(pack.objects).to_bytes(4, "big")
    body = b"".join(
        _object_header(KINDS[kind], len(content)) + _stored_zlib(content) for kind, content in pack.objects.values()
    )
    return head + body + hashlib.sha1(head + body).digest()


def _object_header(kind: int, size: int) -> bytes:
    """Kind in 3 bits, size in 4 and then 7 bits a byte; the top bit says that more follows."""
    first, rest = kind << 4 | size & 15, size >> 4
    header = bytearray()
    while rest:
        header.append(first | 128)
        first, rest = rest & 127, rest >> 7
    header.append(first)
    return bytes(header)


def _stored_zlib(content: bytes) -> bytes:
    return b"\x78\x01" + b"".join(_stored_blocks(content)) + zlib.adler32(content).to_bytes(4, "big")


def _stored_blocks(content: bytes) -> Iterator[bytes]:
    for at in range(0, max(len(content), 1), STORED_BLOCK_BYTES):
        block = content[at : at + STORED_BLOCK_BYTES]
        is_last = at + STORED_BLOCK_BYTES >= len(content)
        size = len(block)
        yield bytes([is_last]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + block
