"""What every route works with."""

from http_served import place, settings

from trimtab.serving.facts import ServiceFacts
from trimtab.serving.http.desk import Desk
from trimtab.serving.http.metrics import Metrics
from trimtab.serving.http.observed import Traffic
from trimtab.serving.service import Service


class Counted(Service):
    """How often its facts are asked for."""

    asked = 0

    @property
    def facts(self) -> ServiceFacts:
        self.asked += 1
        return super().facts


def test_the_name_of_the_base_counts_nothing() -> None:
    with Counted(str(place().base.folder)) as service:
        desk = Desk(
            service=service, settings=settings(), metrics=Metrics(service), traffic=Traffic(), ready=lambda: True
        )
        before = service.asked
        assert desk.base == place().base.folder.name
        assert service.asked == before
