"""The page's words: written in English where they belong, said in the reader's language.

The Chinese words stand in chinese.json under the English ones; what is not in there is said in English.
"""

import json
from pathlib import Path
from typing import Any

from eval.results.words import Text, Words, listed, said

LANGUAGES = ("en", "zh")
CHINESE = Path(__file__).with_name("chinese.json")


def percent(share: float, digits: int = 2) -> str:
    """A share as the page shows it, 45.90 %, which no line breaks."""
    return f"{100 * share:.{digits}f}\u00a0%"


class Language:
    """Says words in one language, and remembers those it has no translation for."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.unknown: set[str] = set()
        self._translated = json.loads(CHINESE.read_text(encoding="utf-8")) if code == "zh" else {}

    def say(self, words: Words, **values: Any) -> str:
        """The words in this language, with the values in their places."""
        if isinstance(words, str) and values:
            words = Text(words, values)
        return said(words, self.translate, "、".join if self.code == "zh" else listed)

    def translate(self, english: str) -> str:
        """A sentence as it stands in the catalogue, or in English where it doesn't."""
        if self.code != "en" and english and english not in self._translated:
            self.unknown.add(english)
        return str(self._translated.get(english, english))
