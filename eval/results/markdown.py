"""Results as Markdown that reads well as text too, written whole or not at all."""

import textwrap
from collections.abc import Sequence

WIDTH = 100


def aligned(lines: Sequence[Sequence[str]], to_left: int) -> str:
    """A Markdown table whose columns stand under each other; the first of `lines` is the header.

    The first `to_left` columns stand to the left, the others to the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * (width - 1) + ("-" if i < to_left else ":") for i, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if i < to_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def wrapped(text: str) -> str:
    """A paragraph in lines of WIDTH characters; words, such as commands and addresses, stay whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
