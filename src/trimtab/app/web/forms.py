"""What a form says, as the facade is asked: the fields have the names of the options of the command line, and are
read by the same code. Leaves out where files may lie (folders.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.app.cli import options
from trimtab.app.web.folders import Folders
from trimtab.errors import UsageError
from trimtab.models import catalogue
from trimtab.study.request import PlanRequest

if TYPE_CHECKING:
    from trimtab.study import TrainRequest

DEMO, HERE = "demo", ""
GOALS = tuple(options.GOALS.split("|"))
METHODS = tuple(options.METHODS.split("|"))
TASKS = tuple(options.TASKS.split("|"))
_LONGEST = 500  # characters of a field
# In the order in which they stand on the page, each with what it says where nobody has said anything.
FIELDS: Mapping[str, str] = {
    "model": DEMO, "data": DEMO, "on": HERE, "goal": "balanced", "memory": "", "time": "", "money": "",
    "price": "", "method": "auto", "rank": "", "top_layers": "", "epochs": "", "batch": "", "lr": "",
    "max_length": "", "seed": "", "task": "", "text": "", "label": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlanForm:
    """The fields as they were typed; what was not, as it stands in an empty form."""

    fields: Mapping[str, str]

    @classmethod
    def of(cls, said: Mapping[str, str]) -> "PlanForm":
        """Fields that are no field of a plan are passed over."""
        return cls({name: said.get(name, usual)[:_LONGEST].strip() for name, usual in FIELDS.items()})

    def __getitem__(self, name: str) -> str:
        return self.fields[name]

    @property
    def said(self) -> dict[str, str]:
        """Those that differ from an empty form: what stands in an address."""
        return {name: value for name, value in self.fields.items() if value != FIELDS[name]}

    def request(self, folders: Folders) -> PlanRequest:
        """What the facade is asked. Raises UsageError for a field that cannot be read, or leads out of the
        folders."""
        training = self._training()
        limits = options.Limits(**{name: self[name] or None for name in ("memory", "time", "money", "price")})
        columns = options.Columns(
            task=self["task"] or None, text=_names(self["text"]), label=self["label"] or None
        )
        return PlanRequest(
            model_of(self["model"] or DEMO, folders),
            data_of(self["data"] or DEMO, folders),
            on=self["on"] or None,
            goal=options.goal_of(self["goal"] or "balanced"),
            limits=limits.limits(),
            price=limits.hourly(),
            method=options.method_of(self["method"] or "auto"),
            choices=training.choices(),
            settings=training.settings(),
            reading=columns.reading(training.seed),
        )

    def _training(self) -> options.Training:
        return options.Training(
            rank=self._whole("rank"),
            top_layers=self._whole("top_layers"),
            epochs=self._whole("epochs"),
            batch=self._whole("batch"),
            lr=number("lr", self["lr"], None),
            max_length=self._whole("max_length"),
            seed=self._whole("seed") or 0,
        )

    def _whole(self, name: str) -> int | None:
        return whole(name, self[name], 0) if self[name] else None


def typed(request: PlanRequest, folders: Folders) -> PlanRequest:
    """The same, its paths as they are typed in the first folder."""
    return replace(request, model=spoken(request.model, folders), data=spoken(request.data, folders))


def train_request(request: PlanRequest, out: str, language: str) -> "TrainRequest":
    """The training of a plan for this machine."""
    from trimtab.study import TrainRequest

    return TrainRequest(
        model=request.model,
        data=request.data,
        out=out,
        goal=request.goal,
        limits=request.limits,
        price=request.price,
        pricing=request.pricing,
        method=request.method,
        choices=request.choices,
        settings=request.settings,
        reading=request.reading,
        language=language,
    )


def model_of(text: str, folders: Folders) -> str:
    """ "demo", a name of the catalogue, or a folder or file in the chosen folders. Raises UsageError TT-W120,
    TT-W121."""
    if text in _known_models() and not Path(text).exists():  # what lies in the current folder would be read
        return text
    found = folders.inside(text)
    if not found.exists():
        raise UsageError("TT-W121", model=text[:200], folders=folders.words)
    return str(found)


def data_of(text: str, folders: Folders) -> str:
    """ "demo", or a file or folder in the chosen folders. Raises UsageError TT-W120, TT-W122."""
    if text == DEMO:
        return text
    found = folders.inside(text)
    if not found.exists():
        raise UsageError("TT-W122", data=text[:200], folders=folders.words)
    return str(found)


def number(name: str, text: str, usual: float | None) -> float | None:
    """Raises UsageError TT-W123 for what is no number."""
    return usual if not text.strip() else _number(name, text, float)


def whole(name: str, text: str, usual: int) -> int:
    """Raises UsageError TT-W123 for what is no whole number."""
    return usual if not text.strip() else int(_number(name, text, int))


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError as error:
        raise UsageError("TT-W123", field=name.replace("_", "-"), text=text[:40]) from error


def _names(text: str) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] or None


def _known_models() -> frozenset[str]:
    return frozenset({DEMO, *(spec.name for spec in catalogue()), *(spec.hub_id for spec in catalogue())})


def spoken(text: str, folders: Folders) -> str:
    """What `model_of` or `data_of` gave, as it is typed in the first folder."""
    path = Path(text)
    return folders.spoken(path) if path.is_absolute() else text
