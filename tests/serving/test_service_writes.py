"""The service writes: chats of adapters of every method at once, each as alone; given up, late, and at the end."""

from pathlib import Path
from random import Random
from threading import Thread
from time import monotonic, sleep

import pytest
import torch

from tiny_artifacts import moved_artifact
from tiny_chat import chat_model
from tiny_models import WORDS
from trimtab.data.spec import Example, Turn
from trimtab.errors import Busy, ModelError, UsageError
from trimtab.evaluation import open_artifact
from trimtab.evaluation.generate import answer
from trimtab.hardware.cpu import allowed_cores
from trimtab.serving.facts import Limits, Piece, WriteRequest
from trimtab.serving.service import Service

METHODS = ("lora", "adapter", "ia3", "prompt", "prefix")
MOST = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Chat adapters of many methods on one base; "base" is that; "labels" answers in one pass."""
    folder = tmp_path_factory.mktemp("chats")
    source = chat_model(folder / "base", positions=512)
    found = {"base": source.folder}
    for number, method in enumerate(METHODS):
        found[method] = moved_artifact(folder / method, source, method, task="instruct", seed=number)
    found["labels"] = moved_artifact(folder / "labels", source, "lora")
    return found


def question(draw: Random, **changed: object) -> WriteRequest:
    words = draw.choices(WORDS, k=draw.randint(3, 20))
    return WriteRequest(turns=(Turn("user", " ".join(words)),), **{"most_tokens": MOST, **changed})  # type: ignore[arg-type]


def alone(folder: Path, request: WriteRequest) -> str:
    one = open_artifact(folder)
    return answer(one.model, one.tokenizer, request.turns, most_tokens=request.most_tokens).text


def served(made: dict[str, Path], *names: str, **limits: object) -> Service:
    service = Service(str(made["base"]), Limits(**limits))  # type: ignore[arg-type]
    for name in names or METHODS:
        service.register(name, made[name])
    return service


def told(pieces: list[Piece]) -> str:
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish in ("stop", "length")
    return "".join(piece.text for piece in pieces)


def test_chats_of_every_method_at_once_are_answered_as_alone(made: dict[str, Path]) -> None:
    draw = Random(0)
    asked = [(method, question(draw)) for method in METHODS * 4]
    draw.shuffle(asked)
    found: dict[int, str] = {}
    with served(made, *METHODS, "labels", chats=6) as service:

        def ask(place: int, name: str, request: WriteRequest) -> None:
            found[place] = told(list(service.write(name, request)))

        threads = [Thread(target=ask, args=(place, *one)) for place, one in enumerate(asked)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        facts = service.facts
        base = told(list(service.write(str(made["base"]), asked[0][1])))
        with pytest.raises(UsageError) as refused:
            service.write("labels", asked[0][1])
    assert [found[place] for place in range(len(asked))] == [alone(made[name], one) for name, one in asked]
    assert refused.value.code == "TT-N052"
    assert facts.queued == 0 and facts.tokens >= len(asked)
    assert len({found[place] for place in found} | {base}) > len(METHODS)


def test_what_is_given_up_is_forgotten_and_the_others_go_on(made: dict[str, Path]) -> None:
    draw = Random(1)
    with served(made, "lora", "ia3", chats=2) as service:
        left = service.write("lora", question(draw, most_tokens=400))
        next(left)
        stays = question(draw)
        other = service.write("ia3", stays)
        waiting = service.write("ia3", question(draw, most_tokens=400))
        left.close()  # type: ignore[attr-defined]
        waiting.close()  # type: ignore[attr-defined]
        assert told(list(other)) == alone(made["ia3"], stays)
        ends = monotonic() + 10
        while service.facts.queued and monotonic() < ends:
            sleep(0.01)
        assert service.facts.queued == 0
        assert service.adapter("lora").in_flight == 0
        assert service.unload("lora").state == "registered"
        again = question(draw)
        assert told(list(service.write("lora", again))) == alone(made["lora"], again)


def test_late_long_and_too_many_requests_are_refused_and_a_closing_service_ends_what_it_writes(
    made: dict[str, Path],
) -> None:
    draw = Random(2)
    service = served(made, "lora", queued=2)
    service.load("lora")
    with pytest.raises(Busy) as caught:
        list(service.write("lora", question(draw, most_tokens=400), deadline_seconds=0.0))
    assert caught.value.code == "TT-N002"
    with pytest.raises(ModelError) as long:
        list(service.write("lora", WriteRequest(turns=(Turn("user", "good " * 600),))))
    assert long.value.code == "TT-N200"
    asked = [question(draw), question(draw)]
    answers = [service.write("lora", one) for one in asked]
    with pytest.raises(Busy) as caught:
        service.write("lora", question(draw))
    assert caught.value.code == "TT-N001"
    service.close()
    assert [told(list(one)) for one in answers] == [alone(made["lora"], one) for one in asked]
    with pytest.raises(Busy) as caught:
        service.write("lora", question(draw))
    assert caught.value.code == "TT-N003"


def test_a_service_closes_while_a_chat_adapter_is_loaded(made: dict[str, Path]) -> None:
    service = served(made, "lora", "ia3")
    loading = Thread(target=lambda: suppressed(service.load, "lora"))
    loading.start()
    begun = monotonic()
    service.close(drain_seconds=0.1)
    loading.join(timeout=30)
    assert not loading.is_alive() and monotonic() - begun < 30


def suppressed(do, *args):  # type: ignore[no-untyped-def]
    try:
        return do(*args)
    except Exception:
        return None


def test_who_waits_for_a_first_piece_is_told_when_it_is_given_up(made: dict[str, Path]) -> None:
    draw = Random(4)
    with served(made, "lora", chats=1) as service:
        writes = service.write("lora", question(draw, most_tokens=400))
        next(writes)
        waits = [service.write("lora", question(draw, most_tokens=400)) for _ in range(3)]
        told: list[BaseException] = []

        def read(one) -> None:  # type: ignore[no-untyped-def]
            try:
                list(one)
            except BaseException as error:
                told.append(error)

        readers = [Thread(target=read, args=(one,)) for one in waits]
        for reader in readers:
            reader.start()
        for one in waits:
            one.close()
        for reader in readers:
            reader.join(timeout=20)
        assert not any(reader.is_alive() for reader in readers)
        writes.close()
    late = served(made, "lora")
    late.load("lora")
    scribe = late._roster.scribes[0]
    late.close()
    asked = late._roster.entry("lora").loaded
    assert asked is not None
    from trimtab.serving.writing import ticket

    answer_ = scribe.write(ticket(asked.row_name, question(draw), asked.tokenizer), monotonic() + 5, lambda: None)
    with pytest.raises(Busy):
        list(answer_)


def test_what_is_written_has_all_cores_though_answers_share_them(made: dict[str, Path]) -> None:
    with served(made, "lora", "labels") as service:
        service.ask("labels", [Example(("good film",), None)]).result(timeout=60)
        service.load("lora")
        found: list[int] = []
        (scribe,) = service._roster.scribes
        scribe._between_steps(lambda: found.append(torch.get_num_threads())).result(timeout=10)
    assert found == [allowed_cores()]
