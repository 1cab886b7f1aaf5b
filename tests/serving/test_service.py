"""The service: a request is answered as its adapter answers alone, whatever is asked, loaded or let go beside."""

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from safetensors.torch import load_file, save_file

from tiny_artifacts import TEXTS, moved_artifact, tiny_base
from tiny_training import tiny_strategy
from trimtab.artifacts import read_facts
from trimtab.data import Example
from trimtab.data.spec import Prefixes
from trimtab.errors import ArtifactError, Busy, UsageError
from trimtab.evaluation import Prediction, open_artifact
from trimtab.methods import Lora
from trimtab.models import ModelSource
from trimtab.serving.facts import Answered, Limits
from trimtab.serving.service import Service

TOPICS = ("law", "medicine", "sports", "weather", "film")
METHODS = ("lora", "adapter", "ia3", "bitfit", "prompt", "prefix", "head")
TASKS = {"tag": ("PER", "O", "LOC"), "embed": (), "pair": ("no", "yes"), "regress": ()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of many methods, tasks and label counts on one base; "base" is that."""
    folder = tmp_path_factory.mktemp("served")
    source = tiny_base(folder)
    found = {"base": source.folder}
    for number, method in enumerate(METHODS):
        labels = TOPICS[: number % 4 + 2]
        found[method] = moved_artifact(folder / method, source, method, labels=labels, seed=number)
    for number, (task, labels) in enumerate(TASKS.items()):
        found[task] = moved_artifact(folder / task, source, "lora", task=task, labels=labels, seed=number)
    return found


@pytest.fixture(scope="module")
def alone(made: dict[str, Path]) -> dict[str, list[Prediction]]:
    """What each says alone of its examples."""
    return {name: list(open_artifact(made[name]).predict(examples(name))) for name in made if name != "base"}


def examples(name: str) -> list[Example]:
    if name == "pair":
        return [Example((first, second), None) for first, second in zip(TEXTS, TEXTS[::-1], strict=True)]
    if name == "tag":
        return [Example(tuple(text.split()), None) for text in TEXTS]
    return [Example((text,), None) for text in TEXTS]


def served(made: dict[str, Path], *names: str, **limits: object) -> Service:
    service = Service(str(made["base"]), Limits(**limits))  # type: ignore[arg-type]
    for name in names or [name for name in made if name != "base"]:
        service.register(name, made[name])
    return service


def numbers(found: Prediction) -> list[float]:
    said = [*(found.vector or ()), *(share for _, share in sorted(found.scores)), found.value or 0.0]
    return said + [entity.probability for entity in found.entities or ()]


def assert_same(found: Sequence[Prediction], expected: list[Prediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.label == other.label
        assert [(x.type, x.start, x.end) for x in one.entities or ()] == [
            (x.type, x.start, x.end) for x in other.entities or ()
        ]
        assert numbers(one) == pytest.approx(numbers(other), abs=1e-5)


def test_requests_of_all_adapters_at_once_are_answered_as_alone(
    made: dict[str, Path], alone: dict[str, list[Prediction]]
) -> None:
    """From several threads, one to four texts each, in random order."""
    draw = Random(0)
    wanted = [(name, start) for name in alone for start in range(len(TEXTS)) for _ in range(3)]
    draw.shuffle(wanted)
    with served(made) as service:
        answers: list[tuple[str, int, Future[Answered]]] = []

        def ask(part: list[tuple[str, int]]) -> None:
            for name, start in part:
                answers.append((name, start, service.ask(name, examples(name)[start:])))

        threads = [threading.Thread(target=ask, args=(wanted[number::4],)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name, start, answer in answers:
            assert_same(answer.result(timeout=60).predictions, alone[name][start:])
        facts = service.facts
    assert facts.requests == len(wanted)
    assert facts.queued == 0
    assert facts.loads == len(alone)
    assert facts.rows > 3 * facts.passes, "requests share passes"


def test_loading_and_evicting_while_asked_never_answers_with_another(
    made: dict[str, Path], alone: dict[str, list[Prediction]]
) -> None:
    """Memory for two of seven: every request may load its adapter anew; a pinned one stays."""
    with served(made, *METHODS) as probe:
        sizes = {name: probe.load(name).own_bytes for name in METHODS}
    budget = sizes["lora"] + max(sizes.values()) + 1
    draw = Random(1)
    with served(made, *METHODS, adapter_bytes=budget) as service:
        service.load("lora")
        service.pin("lora")
        for _ in range(12):
            names = draw.sample(METHODS, 3)
            for name, answer in [(name, service.ask(name, examples(name))) for name in names]:
                assert_same(answer.result(timeout=60).predictions, alone[name])
            assert service.facts.adapter_bytes <= budget
            assert service.adapter("lora").state == "loaded"
        assert service.facts.evictions > 5
        assert service.unload("lora").state == "registered"
        assert_same(service.ask("lora", examples("lora")).result(timeout=60).predictions, alone["lora"])
        service.forget("lora")
        with pytest.raises(UsageError) as caught:
            service.ask("lora", examples("lora"))
        assert caught.value.code == "TT-U103"


def test_what_goes_wrong_with_one_request_is_its_own(
    made: dict[str, Path], alone: dict[str, list[Prediction]], tmp_path: Path
) -> None:
    broken = shutil.copytree(made["ia3"], tmp_path / "broken")
    with served(made, "lora") as service:
        service.register("broken", broken)
        bad = service.ask("lora", [Example(("one", "two"), None)])
        good = service.ask("lora", examples("lora"))
        with pytest.raises(ArtifactError) as caught:
            bad.result(timeout=60)
        assert caught.value.code == "TT-A008"
        assert_same(good.result(timeout=60).predictions, alone["lora"])
        (broken / "adapter_model.safetensors").write_bytes(b"broken")
        with pytest.raises(ArtifactError) as caught:
            service.ask("broken", examples("ia3")).result(timeout=60)
        assert caught.value.code == "TT-A003"
        assert service.adapter("broken").in_flight == 0
        assert_same(service.ask("lora", examples("lora")).result(timeout=60).predictions, alone["lora"])


def test_a_full_queue_a_passed_deadline_a_cancelled_and_a_closed_service(made: dict[str, Path]) -> None:
    service = served(made, "lora", "adapter", queued=3, wait_seconds=0.5)
    service.load("lora")
    first = [service.ask("lora", examples("lora")) for _ in range(3)]
    with pytest.raises(Busy) as caught:
        service.ask("lora", examples("lora"))
    assert caught.value.code == "TT-N001"
    assert first[0].cancel()
    late = service.ask("lora", examples("lora"), deadline_seconds=0.0)
    with pytest.raises(CancelledError):
        first[0].result()
    with pytest.raises(Busy) as caught:
        late.result(timeout=60)
    assert caught.value.code == "TT-N002"
    assert [len(answer.result(timeout=60).predictions) for answer in first[1:]] == [len(TEXTS)] * 2
    facts = service.facts
    assert (facts.refused, facts.expired, facts.queued) == (1, 1, 0)
    assert service.adapter("lora").in_flight == 0
    last = service.ask("lora", examples("lora"))
    service.close()
    assert len(last.result().predictions) == len(TEXTS), "what waits is answered before it closes"
    with pytest.raises(Busy) as caught:
        service.ask("lora", examples("lora"))
    assert caught.value.code == "TT-N003"


def test_what_is_beyond_the_budget_or_called_otherwise_is_refused_when_registered(made: dict[str, Path]) -> None:
    with Service(str(made["base"]), Limits(adapter_bytes=1000)) as service:
        with pytest.raises(ArtifactError) as caught:
            service.register("lora", made["lora"])
        assert caught.value.code == "TT-N050"
    with served(made, "lora") as service:
        for name, code in (("../law", "TT-U101"), ("lora", "TT-U102")):
            with pytest.raises(UsageError) as refused:
                service.register(name, made["adapter"])
            assert refused.value.code == code


def test_passages_stand_behind_their_own_prefix_and_tokens_are_counted(
    made: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(made["embed"], tmp_path / "search")
    facts = read_facts(folder)
    replace(facts, prefixes=Prefixes(query="good ", passage="bad story ")).write(folder)
    one = open_artifact(folder)
    with Service(str(made["base"])) as service:
        service.register("search", folder)
        queries = service.ask("search", examples("embed")).result(timeout=60)
        passages = service.ask("search", examples("embed"), passages=True).result(timeout=60)
    assert_same(queries.predictions, list(one.predict(examples("embed"))))
    assert_same(passages.predictions, list(one.of_passages().predict(examples("embed"))))
    assert numbers(queries.predictions[0]) != pytest.approx(numbers(passages.predictions[0]), abs=1e-3)
    words = sum(len(f"good {text}".split()) for text in TEXTS)
    assert queries.tokens == words + 2 * len(TEXTS), "each word is a token, and each text has two more"
    assert passages.tokens == queries.tokens + len(TEXTS)


def test_a_name_that_is_taken_again_answers_as_the_new_one_and_old_requests_as_the_old(
    made: dict[str, Path], alone: dict[str, list[Prediction]]
) -> None:
    with Service(str(made["base"]), Limits(wait_seconds=0.3)) as service:
        service.register("card", made["lora"])
        service.load("card")
        old = service.ask("card", examples("lora"))
        forgetting = threading.Thread(target=service.forget, args=("card",))
        forgetting.start()
        while any(one.name == "card" for one in service.adapters):
            pass
        service.register("card", made["adapter"])
        service.load("card")
        forgetting.join()
        assert_same(old.result(timeout=60).predictions, alone["lora"])
        assert_same(service.ask("card", examples("adapter")).result(timeout=60).predictions, alone["adapter"])
        assert service.facts.adapter_bytes == service.adapter("card").own_bytes


def test_what_was_changed_on_the_disk_since_it_was_registered_is_refused(
    made: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(made["lora"], tmp_path / "changed")
    with Service(str(made["base"])) as service:
        service.register("card", folder)
        facts = read_facts(folder)
        replace(facts, labels=facts.labels[::-1]).write(folder)
        with pytest.raises(ArtifactError) as caught:
            service.ask("card", examples("lora")).result(timeout=60)
        assert caught.value.code == "TT-N053"


def test_whole_models_answer_too_and_one_with_numbers_that_are_none_is_refused(
    made: dict[str, Path], alone: dict[str, list[Prediction]], tmp_path: Path
) -> None:
    source = ModelSource(folder=made["base"], name=str(made["base"]))
    whole = moved_artifact(tmp_path / "whole", source, "full", seed=3)
    broken = shutil.copytree(whole, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    save_file(
        {**tensors, "classifier.bias": tensors["classifier.bias"] * float("nan")}, broken / "model.safetensors"
    )
    read_facts(whole).write(broken)
    with served(made, "lora") as service:
        service.register("whole", whole)
        expected = list(open_artifact(whole).predict(examples("lora")))
        answers = [service.ask(name, examples("lora")) for name in ("whole", "lora", "whole")]
        for answer, said in zip(answers, (expected, alone["lora"], expected), strict=True):
            assert_same(answer.result(timeout=60).predictions, said)
        with pytest.raises(ArtifactError) as caught:
            service.register("broken", broken)
        assert caught.value.code == "TT-A006"


def test_adapters_of_another_number_format_are_refused_when_registered(
    made: dict[str, Path], tmp_path: Path
) -> None:
    source = ModelSource(folder=made["base"], name=str(made["base"]))
    other = moved_artifact(tmp_path / "bf16", source, "lora", precision="bf16")
    with served(made, "lora") as service:
        with pytest.raises(ArtifactError) as caught:
            service.register("other", other)
        assert caught.value.code == "TT-A042"
    with Service(str(made["base"]), precision="fp32") as service:
        service.register("other", other)
        service.register("lora", made["lora"])
        assert len(service.ask("other", examples("lora")).result(timeout=60).predictions) == len(TEXTS)


def test_pinned_adapters_that_fill_the_memory_hold_nobody_up(made: dict[str, Path]) -> None:
    with served(made, "lora", "ia3") as probe:
        both = sum(probe.load(name).own_bytes for name in ("lora", "ia3"))
    with served(made, "lora", "ia3", adapter_bytes=both - 1) as service:
        service.load("lora")
        service.pin("lora")
        begun = monotonic()
        with pytest.raises(ArtifactError) as caught:
            service.ask("ia3", examples("ia3")).result(timeout=60)
        assert caught.value.code == "TT-N055"
        assert monotonic() - begun < 10, "and not after the deadline of 30 s"


def test_dora_brings_no_more_of_the_base_than_the_matrices_it_is_on(made: dict[str, Path], tmp_path: Path) -> None:
    source = ModelSource(folder=made["base"], name=str(made["base"]))
    parts = tuple(tiny_strategy(source, "head").parts)
    folder = moved_artifact(tmp_path / "dora", source, "lora", parts=(Lora(rank=2, variant="dora"), *parts))
    with Service(str(made["base"])) as service:
        service.register("dora", folder)
        service.load("dora")
        expected = list(open_artifact(folder).predict(examples("lora")))
        assert_same(service.ask("dora", examples("lora")).result(timeout=60).predictions, expected)
        layers = 2 * 2 * 32 * 32 * 4  # queries and values of two layers, 32 wide
        assert (
            service.adapter("dora").own_bytes < layers + 2 * (folder / "adapter_model.safetensors").stat().st_size
        )


def test_what_is_told_may_be_read_while_adapters_come_and_go(made: dict[str, Path]) -> None:
    with served(made, "lora", "ia3") as service:
        ends, wrong = threading.Event(), []

        def read() -> None:
            while not ends.is_set():
                try:
                    _ = service.facts, service.adapters
                except Exception as error:
                    wrong.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(10):
            for name in ("lora", "ia3"):
                service.load(name)
                service.unload(name)
        ends.set()
        for reader in readers:
            reader.join()
        assert not wrong


def test_sentences_without_words_have_no_entities(
    made: dict[str, Path], alone: dict[str, list[Prediction]]
) -> None:
    with served(made, "tag") as service:
        assert service.ask("tag", []).result(timeout=30).predictions == ()
        (nothing,) = service.ask("tag", [Example((), None)]).result(timeout=30).predictions
        assert nothing.entities == ()
        mixed = [Example((), None), *examples("tag")]
        assert_same(service.ask("tag", mixed).result(timeout=30).predictions[1:], alone["tag"])
