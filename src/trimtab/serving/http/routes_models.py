"""/v1/models: the base, and the adapters that stand on it."""

from starlette.requests import Request

from trimtab.serving.facts import ServedAdapter
from trimtab.serving.http.bodies import ModelCard, ModelList
from trimtab.serving.http.desk import Desk, Door


def doors(desk: Desk) -> tuple[Door, ...]:
    def base_card() -> ModelCard:
        return ModelCard(id=desk.base, created=desk.began_at, root=desk.base)

    def card(adapter: ServedAdapter) -> ModelCard:
        return ModelCard(
            id=adapter.name, created=desk.began_at, root=desk.base, parent=desk.base, task=adapter.task,
            labels=list(adapter.labels), columns=list(adapter.columns),
        )  # fmt: skip

    async def list_models() -> ModelList:
        """What may be asked for as `model`."""
        return ModelList(data=[base_card(), *map(card, desk.service.adapters)])

    async def show_model(name: str, request: Request) -> ModelCard:
        """One of them."""
        return base_card() if name == desk.base else card(desk.adapter(name, request))

    return (
        Door("GET", "/v1/models", list_models, ModelList),
        Door("GET", "/v1/models/{name:path}", show_model, ModelCard),
    )
