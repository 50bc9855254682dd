"""Git LFS's pointers: three lines of text that stand for a large file where nobody has fetched it."""

from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"
FETCH_IT = "only Git LFS's pointer to the file: `git lfs pull` fetches the file itself"


def is_pointer(data: bytes) -> bool:
    """True for what a pointer begins with."""
    return data.startswith(POINTER)


def refuse_pointer(path: Path) -> None:
    """Raise ValueError, in a sentence, where a pointer lies in a file's place; OSError."""
    with path.open("rb") as file:
        if is_pointer(file.read(len(POINTER))):
            raise ValueError(f"{path} is {FETCH_IT}")
