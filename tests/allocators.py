"""A library that allocates strangely, for tests: as little aligned as is allowed, and full of rubbish."""

import subprocess
from pathlib import Path

from core.profile import compiler_path

# What the C library gives is filled with 0.046 in fp32, so that whoever reads what nobody has written gets other bits.
SOURCE = """
#include <cerrno>
#include <cstdlib>
#include <cstring>

extern "C" void *__libc_memalign(size_t alignment, size_t size);

extern "C" void *malloc(size_t size) {
    void *block = __libc_memalign(16, size);
    return block ? memset(block, 0x3d, size) : block;
}

extern "C" int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = __libc_memalign(alignment, size);
    return *block ? (memset(*block, 0x3d, size), 0) : ENOMEM;
}
"""


def strange_allocator(folder: Path) -> Path:
    """Compile it."""
    source, library = folder / "strange.cpp", folder / "libstrange.so"
    source.write_text(SOURCE, encoding="utf-8")
    subprocess.run([compiler_path(), "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library
