"""Every task's objective. A new task is one class and one line here."""

from collections.abc import Mapping

from trimtab.data.spec import Task
from trimtab.evaluation.answers import Answers
from trimtab.evaluation.labelled import Labelled, Regression
from trimtab.evaluation.objective import Objective

OBJECTIVES: Mapping[Task, Objective] = {
    "classify": Labelled("classify"),
    "pair": Labelled("pair"),
    "regress": Regression("regress"),
    "instruct": Answers(),
}
