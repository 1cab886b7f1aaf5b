"""/v1/classify: labels, values or entities of texts. The one route that OpenAI has no like of."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request

from trimtab.data.spec import Example
from trimtab.data.words import joined, sentence_of
from trimtab.errors import UsageError
from trimtab.evaluation.prediction import Prediction
from trimtab.serving.facts import ServedAdapter
from trimtab.serving.http.bodies import Classified, ClassifyAnswer, ClassifyBody, FoundEntity, LabelShare
from trimtab.serving.http.desk import Desk, Door, require_task

PATH = "/v1/classify"
Given = str | list[str]


def doors(desk: Desk) -> tuple[Door, ...]:
    async def classify(body: ClassifyBody, request: Request) -> ClassifyAnswer:
        """Labels with their probabilities, a value, or entities, of each input."""
        adapter = require_task(desk.adapter(body.model, request), PATH)
        examples = examples_of(adapter, body.inputs)
        found = await desk.answers(adapter.name, examples, request)
        data = [classified(index, prediction) for index, prediction in enumerate(found.predictions)]
        return ClassifyAnswer(model=adapter.name, task=adapter.task, data=data)

    return (Door("POST", PATH, classify, ClassifyAnswer, sparse=True),)


def examples_of(adapter: ServedAdapter, inputs: Sequence[Given]) -> list[Example]:
    """What is asked, as the task takes it. Raises UsageError TT-N022 for another number of texts than that."""
    read = _tagged if adapter.task == "tag" else _row
    return [read(adapter, index, given) for index, given in enumerate(inputs)]


def _row(adapter: ServedAdapter, index: int, given: Given) -> Example:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if len(texts) != len(adapter.columns):
        raise UsageError(
            "TT-N022",
            name=adapter.name,
            wanted=len(adapter.columns),
            columns=", ".join(adapter.columns),
            index=index,
        )
    return Example(texts, None)


def _tagged(adapter: ServedAdapter, index: int, given: Given) -> Example:
    """A text is cut into words by rule; words that are given stay as they are."""
    sentence = sentence_of(given) if isinstance(given, str) else joined(given)
    return Example(sentence.words, None, sentence=sentence)


def classified(index: int, found: Prediction) -> Classified:
    """A prediction as it is sent."""
    return Classified(
        index=index,
        label=found.label,
        probability=found.probability,
        scores=_shares(found.scores) or None,
        labels=_maybe(_shares, found.labels),
        value=found.value,
        entities=_maybe(_entities, found.entities),
    )


def _shares(pairs: Sequence[tuple[str, float]]) -> list[LabelShare]:
    return [LabelShare(label=label, probability=share) for label, share in pairs]


def _entities(found: Sequence[Any]) -> list[FoundEntity]:
    return [
        FoundEntity(type=one.type, text=one.text, start=one.start, end=one.end, probability=one.probability)
        for one in found
    ]


def _maybe(made: Callable[[Any], Any], found: Any) -> Any:
    return None if found is None else made(found)
