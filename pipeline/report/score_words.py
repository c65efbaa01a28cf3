"""Reports speak of accuracy. Where a task has another score, its name stands in their texts, heads and figures."""

import dataclasses
import json
import re

import plotly.graph_objects as go

from pipeline.report.content import Chapter, Plot, Section, Table

_WORDS = re.compile(r"\b([Aa])ccurac(y|ies)\b")  # no name of a metric: `accuracy_mean` is one word


def in_words_of(score: str, chapter: Chapter) -> Chapter:
    """The chapter with the score's name in the place of accuracy. The study's name and question stay."""
    if score == "accuracy":
        return chapter
    sections = [
        Section(
            named(section.heading, score), named(section.note, score), [_part(part, score) for part in section.parts]
        )
        for section in chapter.sections
    ]
    return dataclasses.replace(chapter, sections=sections, summary=named(chapter.summary, score))


def named(text: str, score: str) -> str:
    """A text with the score's name in the place of accuracy, such as `best mean IoU 71 %`."""
    return _WORDS.sub(lambda word: _capital(score) if word[1] == "A" else score, text)


def _capital(score: str) -> str:
    return score[0].upper() + score[1:]


def _part(part: Plot | Table, score: str) -> Plot | Table:
    if isinstance(part, Table):
        heads = [named(head, score) for head in part.heads]
        return dataclasses.replace(part, heads=heads, caption=named(part.caption, score))
    figure = go.Figure(json.loads(named(part.figure.to_json(), score)))
    return Plot(part.name, figure, named(part.heading, score), named(part.note, score))
