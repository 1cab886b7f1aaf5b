"""Whatever fits the published schema, or just does not, is answered without a failure of the server, and as the
schema says."""

from contextlib import suppress

import pytest
import schemathesis
from http_served import BEARER, WritingService, place, settings
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from trimtab.serving.http.app import make_app
from trimtab.serving.service import Service

_ASKED = {
    "/v1/classify": "names",
    "/v1/embeddings": "vector",
    "/v1/chat/completions": "talk",
    "/v1/completions": "talk",
}
_CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def _ask(service: Service, examples: int, mode: GenerationMode) -> int:
    """Ask every route so many times; returns how many requests that were. Fails with what was asked."""
    app = make_app(service, settings(adapters_folder=place().cards, hosts=("testserver",)))
    asked = 0
    for operation in schemathesis.openapi.from_asgi("/openapi.json", app, headers=BEARER).get_all_operations():

        @given(operation.ok().as_strategy(generation_mode=mode))
        @hypothesis_settings(
            max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def ask(case) -> None:  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and asked % 4:
                case.body["model"] = _ASKED[case.path]  # what is drawn is no name of an adapter
            case.call_and_validate(headers=BEARER, checks=_CHECKS)

        with suppress(Unsatisfiable):  # where there is nothing that could be wrong
            ask()
    return asked


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_requests_of_the_schema_and_beside_it_fail_nothing(mode: GenerationMode) -> None:
    assert _ask(place().service("mood", "names", "vector"), 4, mode) > 20


@pytest.mark.soak
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_many_requests_fail_nothing(mode: GenerationMode, tmp_path) -> None:
    assert _ask(place().service(), 150, mode) > 800
    assert _ask(WritingService(tmp_path), 150, mode) > 800
