"""What is asked and answered over HTTP is what an adapter says alone, in the form that clients of OpenAI know."""

import base64

import numpy as np
import pytest
from http_served import BEARER, CARDS, TOPICS, URL, client_of, code_of, place, settings
from starlette.testclient import TestClient

from tiny_artifacts import TEXTS
from trimtab.errors import Busy, TrimtabError
from trimtab.evaluation import Prediction, open_artifact
from trimtab.serving.http.app import make_app
from trimtab.serving.http.metrics import Metrics

PAIRS = [[TEXTS[0], TEXTS[1]], [TEXTS[2], TEXTS[3]]]


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(place().service())


def alone(name: str, texts: list[str]) -> list[Prediction]:
    artifact = open_artifact(place().cards / name)
    return list(artifact.predict(artifact.objective.asked(tuple(texts), None, artifact.facts.columns)))


def classified(client: TestClient, name: str, given: object) -> list[dict]:
    answer = client.post("/v1/classify", json={"model": name, "input": given})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", name)
    assert [one.pop("index") for one in body["data"]] == list(range(len(body["data"])))
    return body["data"]


@pytest.mark.parametrize("name", ["mood", "topic"])
def test_labels_with_the_probabilities_that_the_adapter_gives_alone(client: TestClient, name: str) -> None:
    found = classified(client, name, list(TEXTS))
    for one, wanted in zip(found, alone(name, list(TEXTS)), strict=True):
        assert set(one) == {"label", "probability", "scores"}
        assert one["label"] == wanted.label == one["scores"][0]["label"]
        assert one["probability"] == pytest.approx(wanted.probability, abs=1e-5)
        assert sum(score["probability"] for score in one["scores"]) == pytest.approx(1, abs=1e-5)


def test_a_single_text_is_a_list_of_one(client: TestClient) -> None:
    assert classified(client, "mood", TEXTS[0]) == classified(client, "mood", [TEXTS[0]])


def test_pairs_are_lists_of_two_texts(client: TestClient) -> None:
    found = classified(client, "same", PAIRS)
    wanted = alone("same", [text for pair in PAIRS for text in pair])
    assert [one["label"] for one in found] == [one.label for one in wanted]
    refused = client.post("/v1/classify", json={"model": "same", "input": [PAIRS[0], "alone"]})
    assert code_of(refused) == (422, "TT-N022") and "input 1" in refused.json()["error"]["message"]


def test_several_labels_values_and_entities(client: TestClient) -> None:
    for one, wanted in zip(classified(client, "many", list(TEXTS)), alone("many", list(TEXTS)), strict=True):
        assert [label["label"] for label in one["labels"]] == [label for label, _ in wanted.labels or ()]
        assert {score["label"] for score in one["scores"]} == set(TOPICS)
    for one, wanted in zip(classified(client, "stars", list(TEXTS)), alone("stars", list(TEXTS)), strict=True):
        assert one == {"value": pytest.approx(wanted.value, abs=1e-5)}
    for one, wanted in zip(classified(client, "names", list(TEXTS)), alone("names", list(TEXTS)), strict=True):
        kept = [(entity["type"], entity["start"], entity["end"]) for entity in one["entities"]]
        assert kept == [(entity.type, entity.start, entity.end) for entity in wanted.entities or ()]


def test_words_of_a_sentence_may_be_given_as_they_are(client: TestClient) -> None:
    (by_rule,), (given,) = (
        classified(client, "names", "a bad story"),
        classified(client, "names", [["a", "bad story"]]),
    )
    assert all("a bad story"[entity["start"] : entity["end"]] == entity["text"] for entity in by_rule["entities"])
    assert all("a bad story"[entity["start"] : entity["end"]] == entity["text"] for entity in given["entities"])


def test_a_sentence_without_words_has_no_entities(client: TestClient) -> None:
    assert classified(client, "names", " ") == [{"entities": []}]


def test_vectors_in_both_encodings(client: TestClient) -> None:
    asked = {"model": "vector", "input": list(TEXTS)}
    floats = client.post("/v1/embeddings", json=asked).json()["data"]
    packed = client.post("/v1/embeddings", json={**asked, "encoding_format": "base64"}).json()["data"]
    wanted = np.array([one.vector for one in alone("vector", list(TEXTS))], np.float32)
    assert np.allclose(np.array([one["embedding"] for one in floats]), wanted, atol=1e-5)
    unpacked = np.array([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed])
    assert np.array_equal(unpacked, np.array([one["embedding"] for one in floats], np.float32))


def test_models_are_the_base_and_the_adapters_on_it(client: TestClient) -> None:
    base, *adapters = client.get("/v1/models").json()["data"]
    assert (base["id"], base["root"], base["parent"], base["object"]) == ("base-bert", "base-bert", None, "model")
    assert [one["id"] for one in adapters] == list(CARDS)
    assert {(one["root"], one["parent"]) for one in adapters} == {("base-bert", "base-bert")}
    assert client.get("/v1/models/topic").json()["labels"] == list(TOPICS)
    assert client.get("/v1/models/base-bert").json() == base
    assert str(place().base.folder.parent) not in client.get("/v1/models").text


def test_an_adapter_that_is_not_there_is_never_the_base(client: TestClient) -> None:
    bodies = {
        "/v1/classify": {"input": "good"},
        "/v1/embeddings": {"input": "good"},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "good"}]},
        "/v1/completions": {"prompt": "good"},
    }
    for route, body in bodies.items():
        for name in ("nobody", "../mood", "Mood"):
            refused = client.post(route, json={"model": name, **body})
            assert code_of(refused) == (404, "TT-U103") and refused.json()["error"]["param"] == "model"
    assert code_of(client.get("/v1/models/nobody")) == (404, "TT-U103")
    assert code_of(client.post("/v1/classify", json={"model": "base-bert", "input": "good"}))[0] == 404


@pytest.mark.parametrize(
    ("name", "route", "body"),
    [
        ("vector", "/v1/classify", {"input": "good"}),
        ("mood", "/v1/embeddings", {"input": "good"}),
        ("mood", "/v1/chat/completions", {"messages": [{"role": "user", "content": "good"}]}),
        ("names", "/v1/completions", {"prompt": "good"}),
    ],
)
def test_a_task_is_asked_where_it_is_answered(client: TestClient, name: str, route: str, body: dict) -> None:
    refused = client.post(route, json={"model": name, **body})
    assert code_of(refused) == (422, "TT-N021")
    assert ("/v1/embeddings" if name == "vector" else "/v1/classify") in refused.json()["error"]["message"]


def test_errors_are_told_in_the_language_that_is_asked_for(client: TestClient) -> None:
    refused = client.get("/v1/models/nobody", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert refused.json()["error"]["message"].startswith("没有加载名为 nobody 的适配器")


def test_a_request_id_is_taken_where_it_is_well_formed(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "a.B-7_"}).headers["x-request-id"] == "a.B-7_"
    for sent in ("", "a b", "x" * 65, 'a"b'):
        made = client.get("/health", headers={"x-request-id": sent}).headers["x-request-id"]
        assert made != sent and len(made) == 32
    assert len(client.get("/nothing").headers["x-request-id"]) == 32


def test_alive_ready_and_draining_are_told_apart() -> None:
    service = place().service("mood")
    waiting = TestClient(make_app(service, settings(), ready=lambda: False), base_url=URL, headers=BEARER)
    assert waiting.get("/health").json() == {"status": "alive"}
    assert (waiting.get("/ready").status_code, waiting.get("/ready").json()) == (503, {"status": "loading"})
    assert client_of(service).get("/ready").json() == {"status": "ready"}


def test_what_was_asked_is_counted_by_route_and_adapter() -> None:
    client = client_of(place().service("mood"))
    client.post("/v1/classify", json={"model": "mood", "input": ["good", "bad", "fine"]})
    client.post("/v1/classify", json={"model": "nobody-of-that-name", "input": "good"})
    client.get("/strange/place")
    told = client.get("/metrics").text
    assert 'trimtab_http_requests_total{route="/v1/classify",status="200"} 1.0' in told
    assert 'trimtab_http_requests_total{route="/v1/classify",status="404"} 1.0' in told
    assert 'trimtab_model_inputs_total{model="mood"} 3.0' in told
    assert 'trimtab_http_errors_total{code="TT-U103"} 1.0' in told
    assert 'trimtab_adapters{state="loaded"} 1.0' in told and "trimtab_service_rows_total 3.0" in told
    assert "process_resident_memory_bytes" in told
    assert "nobody" not in told and "strange" not in told  # labels have few values


def test_a_service_that_takes_no_more_is_a_status_of_its_own() -> None:
    for error, status, header in (
        (Busy("TT-N001", queued=9, most=8, retry_seconds=1.2), 429, "2"),
        (Busy("TT-N002", seconds=30), 504, None),
        (Busy("TT-N003"), 503, None),
    ):
        service = place().service("mood")
        client = client_of(_Raising(service, error))  # type: ignore[arg-type]
        refused = client.post("/v1/classify", json={"model": "mood", "input": "good"})
        assert code_of(refused) == (status, error.code)
        assert refused.headers.get("retry-after") == header


class _Raising:
    """A service whose `ask` raises."""

    def __init__(self, service: object, error: TrimtabError) -> None:
        self._service, self._error = service, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)

    def ask(self, *_: object, **__: object) -> object:
        raise self._error


def test_every_counter_of_the_service_is_shown() -> None:
    service = place().service("mood")
    told = Metrics(service).text().decode()
    for name in service.facts.__dataclass_fields__:
        assert name == "base" or f"trimtab_service_{name}" in told
