"""Sentences apart from the figures in them, so that a report can say them in any language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Text:
    """A sentence with {names} in it, and what stands for them: words, figures, a Text, or a list of those."""

    english: str
    values: Mapping[str, Any]


Words = Text | str


def text(english: str, **values: Any) -> Text:
    """A sentence and its values."""
    return Text(english, values)


def english(words: Words) -> str:
    """The words as they were written."""
    return said(words, lambda one: one, listed)


def said(words: Words, translate: Callable[[str], str], join: Callable[[Sequence[str]], str]) -> str:
    """The words, translated, their values put in; several values of one name are joined to a list."""
    if isinstance(words, str):
        return translate(words)

    def value_of(value: Any) -> Any:
        if isinstance(value, Text):
            return said(value, translate, join)
        if isinstance(value, list | tuple):
            return join([said(one, translate, join) for one in value])
        return value

    values = {name: value_of(value) for name, value in words.values.items()}
    return translate(words.english).format_map(values)


def listed(words: Sequence[str]) -> str:
    """As English lists things: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def as_json(words: Any) -> Any:
    """The words as JSON: a string, or {"words": sentence, NAME: value, ...}."""
    if isinstance(words, Text):
        return {"words": words.english} | {name: as_json(value) for name, value in words.values.items()}
    return [as_json(one) for one in words] if isinstance(words, list | tuple) else words


def from_json(found: Any) -> Any:
    """What as_json has written."""
    if isinstance(found, dict):
        values = {name: from_json(value) for name, value in found.items()}
        return Text(values.pop("words"), values)
    return [from_json(one) for one in found] if isinstance(found, list) else found
