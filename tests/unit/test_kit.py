"""The conformance kit says in docs/conformance.md all that it holds a provider to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import envup.testing

KIT = Path(envup.testing.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/conformance.md"


def behaviours() -> list[str]:
    """The sentences that the kit's functions are called."""
    trees = [ast.parse(file.read_text()) for file in sorted(KIT.glob("test_*.py"))]
    functions = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name.removeprefix("test_") for name in functions if name.startswith("test_")]


def documented() -> list[str]:
    """The behaviours of the page, spelt as functions are."""
    listed = PAGE.read_text().partition("## The behaviours")[2]
    said = re.findall(r"^- (.+(?:\n  .+)*)$", listed, re.MULTILINE)
    return [re.sub(r"[ -]+", "_", re.sub(r"[',]|\n ", "", text)) for text in said]


def test_there_are_at_least_eighty_behaviours_each_a_sentence_of_its_own() -> None:
    assert len(behaviours()) == len(set(behaviours())) >= 80


def test_the_documentation_lists_every_behaviour_and_no_other() -> None:
    assert sorted(documented()) == sorted(behaviours())
