"""The page's words: written in English where they belong, said in the reader's language.

A sentence with figures in it is a Text, so that a section is made once and said in every language. The
Chinese words stand in chinese.json under the English ones; what is not in there is said in English.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")
CHINESE = Path(__file__).with_name("chinese.json")


@dataclass(frozen=True)
class Text:
    """A sentence with {names} in it, and what stands for them: words, figures, or another Text."""

    english: str
    values: Mapping[str, Any]


Words = Text | str


def text(english: str, **values: Any) -> Text:
    """A sentence and its values."""
    return Text(english, values)


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
        if isinstance(words, Text):
            return self.say(words.english, **words.values)
        if self.code != "en" and words and words not in self._translated:
            self.unknown.add(words)
        said = str(self._translated.get(words, words))
        if not values:
            return said
        return said.format_map({name: self._value(value) for name, value in values.items()})

    def _value(self, value: Any) -> Any:
        return self.say(value) if isinstance(value, Text) else value
