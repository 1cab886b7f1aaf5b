"""A Strategy as JSON and back: for plans, checkpoints and artifacts. An unknown key is an error, not ignored."""

import dataclasses
from typing import Any

from trimtab.methods.language_head import LanguageHead
from trimtab.methods.part import Part
from trimtab.methods.pooling import Pooling
from trimtab.methods.preset import PARTS
from trimtab.methods.stage import Stage
from trimtab.methods.strategy import Schedule, Strategy
from trimtab.methods.token_head import TokenHead
from trimtab.methods.update_rule import UPDATE_RULES, AdamW, UpdateRule

_KNOWN: tuple[type[Part], ...] = (*PARTS, LanguageHead, Pooling, TokenHead)
_PARTS: dict[str, type[Part]] = {part.name: part for part in _KNOWN}
_RULES: dict[str, type[UpdateRule]] = {rule.name: rule for rule in UPDATE_RULES}


def strategy_to_json(strategy: Strategy) -> dict[str, Any]:
    """Plain JSON values; every part carries its name under "part", the optimiser under "rule"."""
    plain = {field.name: getattr(strategy, field.name) for field in dataclasses.fields(strategy)}
    plain["parts"] = [{"part": part.name, **dataclasses.asdict(part)} for part in strategy.parts]
    plain["optimizer"] = {"rule": strategy.optimizer.name, **dataclasses.asdict(strategy.optimizer)}
    plain["schedule"] = dataclasses.asdict(strategy.schedule)
    return plain


def strategy_from_json(plain: dict[str, Any]) -> Strategy:
    """The reverse. Raises KeyError or TypeError where a name is unknown or missing."""
    parts = tuple(_part(dict(part)) for part in plain["parts"])
    optimizer = _rule(dict(plain["optimizer"]))
    rest = {name: value for name, value in plain.items() if name not in ("parts", "optimizer", "schedule")}
    return Strategy(parts=parts, optimizer=optimizer, schedule=_schedule(dict(plain["schedule"])), **_tuples(rest))


def _part(plain: dict[str, Any]) -> Part:
    return _PARTS[plain.pop("part")](**_tuples(plain))


def _schedule(plain: dict[str, Any]) -> Schedule:
    """Before there were stages, without them."""
    return Schedule(stages=tuple(Stage(**stage) for stage in plain.pop("stages", ())), **plain)


def _rule(plain: dict[str, Any]) -> UpdateRule:
    """Before there was a choice it was AdamW, without its name."""
    return _RULES[plain.pop("rule", AdamW.name)](**_tuples(plain))


def _tuples(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
