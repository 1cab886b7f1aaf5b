"""Every task's objective. A new task is one class and one line here."""

from collections.abc import Mapping

from trimtab.data.spec import Task
from trimtab.evaluation.answers import Answers
from trimtab.evaluation.embeddings import Embeddings
from trimtab.evaluation.labelled import Labelled
from trimtab.evaluation.objective import Objective
from trimtab.evaluation.plain_text import PlainText
from trimtab.evaluation.tagged import Tagged
from trimtab.evaluation.targets import Number, OneClass, SeveralLabels

OBJECTIVES: Mapping[Task, Objective] = {
    "classify": Labelled(OneClass()),
    "pair": Labelled(OneClass()),
    "multilabel": Labelled(SeveralLabels()),
    "regress": Labelled(Number()),
    "instruct": Answers(),
    "embed": Embeddings(),
    "text": PlainText(),
    "tag": Tagged(),
}
