"""What is said behind a word that is none of those there are: " (did you mean lmdb?)", or nothing.

Called by the shell, `python3 tools/run/nearest.py WORD NAME...`. Only Python's standard library, as it runs
before anything is installed.
"""

import sys
from collections.abc import Sequence
from difflib import SequenceMatcher

ALIKE = 0.6
"""difflib's own bound: twice the letters in common, of the letters of both."""
MOST = 3


def hint(word: str, names: Sequence[str]) -> str:
    """The clause with the name most like the word, upper and lower case alike; with up to MOST equally so."""

    def likeness(name: str) -> float:
        return SequenceMatcher(None, name.casefold(), word.casefold()).ratio()

    best = max(map(likeness, names), default=0.0)
    found = [name for name in dict.fromkeys(names) if likeness(name) == best]
    return f" (did you mean {' or '.join(found)}?)" if best >= ALIKE and len(found) <= MOST else ""


if __name__ == "__main__":
    print(hint(sys.argv[1], sys.argv[2:]))
