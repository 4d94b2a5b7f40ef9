"""Merkle roots against RFC 6962's own vectors."""

from core.merkle import CHUNK_BYTES, chunk_root, leaf_hash, merkle_root, named_root

# The leaves and the roots of the first 0 to 8 of them, as Certificate Transparency's reference tests have them.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_rfc_6962() -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in LEAVES]
    assert [merkle_root(leaves[:count]).hex() for count in range(9)] == ROOTS


def test_a_leaf_cannot_pass_for_a_node() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != merkle_root([left, right])


def test_a_buffer_is_cut_into_chunks_of_fixed_size() -> None:
    content = bytes(range(256)) * (CHUNK_BYTES // 256) + b"rest"
    chunks = [leaf_hash(content[:CHUNK_BYTES]), leaf_hash(b"rest")]
    assert chunk_root(memoryview(content)) == merkle_root(chunks)
    assert chunk_root(memoryview(b"")) == merkle_root([])
    assert chunk_root(memoryview(content[:CHUNK_BYTES])) == chunks[0]


def test_the_named_root_covers_names_and_roots_in_the_order_of_names() -> None:
    one, other = leaf_hash(b"1"), leaf_hash(b"2")
    root = named_root({"a": one, "b": other})
    assert named_root({"b": other, "a": one}) == root
    assert (
        len({root, named_root({"a": other, "b": one}), named_root({"a": one, "c": other}), named_root({"a": one})}) == 4
    )
