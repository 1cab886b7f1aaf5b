"""Training embeddings: losses beside sentence-transformers' formulas, what is trained, and the artifact that comes
of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from tiny_embed import embed_job, embed_strategy, write_ranked
from tiny_models import FAMILIES, tiny_model
from tiny_training import assert_equal, facts, run, run_until, trained
from trimtab import tuning
from trimtab.data import Prefixes, open_corpus
from trimtab.errors import ArtifactError, UsageError
from trimtab.evaluation import (
    OBJECTIVES,
    ArtifactFacts,
    Base,
    Opening,
    open_artifact,
    require_equal,
    save_artifact,
)
from trimtab.evaluation.adapter_set import AdapterSet
from trimtab.evaluation.contrast import cosent_sum, info_nce_sum
from trimtab.evaluation.embeddings import vectors_of
from trimtab.evaluation.merging import merge_artifact
from trimtab.methods import METHODS, Choices, parts_for
from trimtab.models import read_spec, weights_hash
from trimtab.training import Evaluated, Job, Saved, Session, Started
from trimtab.training.session import prepare

EMBED = OBJECTIVES["embed"]
ENCODERS = tuple(family for family in FAMILIES if family not in ("llama", "qwen2"))
ABLE = tuple(method.name for method in METHODS if method.name != "head")


@pytest.mark.parametrize("method", ABLE)
@pytest.mark.parametrize("family", ENCODERS)
def test_trained_and_total_parameters_are_the_predicted_ones(tmp_path: Path, family: str, method: str) -> None:
    source = tiny_model(tmp_path, family, layers=3)
    spec, strategy = read_spec(source), embed_strategy(source, method)
    if any(part.refusal(spec) for part in strategy.parts):
        pytest.skip(f"{method} has nothing to train in {family}")
    model = tuning.apply(strategy, EMBED.model(Opening(source=source, outputs=0, pad_token_id=0)), spec)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == strategy.trainable_parameters(spec, 0)
    assert tuning.count_parameters(model) == strategy.total_parameters(spec, 0)
    ids = torch.randint(4, 40, (3, 9))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    vectors_of(model, inputs)[0, 0].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    if strategy.base_precision == "same" and all(part.starts_at_base for part in strategy.parts):
        model.eval()
        hidden = AutoModel.from_pretrained(source.folder).eval()(**inputs).last_hidden_state
        torch.testing.assert_close(vectors_of(model, inputs), F.normalize(hidden.mean(1), dim=1))


def test_a_head_alone_has_nothing_to_train(tmp_path: Path) -> None:
    spec = read_spec(tiny_model(tmp_path, "bert"))
    (head,) = (method for method in METHODS if method.name == "head")
    assert parts_for(head, "embed", spec, Choices()) == ()


def plain_vectors(session: Session, texts: list[str], *, pooling: str = "mean") -> torch.Tensor:
    """As sentence-transformers computes them: tokenised, padded, run and pooled by hand."""
    found = session.tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
    hidden = session.model(**found)[0]
    mask = found["attention_mask"][:, :, None].float()
    pooled = hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
    return F.normalize(pooled, dim=1)


def test_the_loss_of_ranked_rows_is_cross_entropy_over_all_passages_of_the_batch(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path)
    session = prepare(job, corpus)
    session.model.eval()
    rows = np.array([3, 9, 4, 20, 11])
    inputs, targets = session.inputs(rows)
    assert targets.shape == (5, 10) and not targets.any()
    loss = EMBED.loss_sum(session.model, inputs, targets, job.strategy)
    examples = [example.texts for example in corpus.train]
    queries = plain_vectors(session, [examples[row][0] for row in rows])
    passages = plain_vectors(session, [examples[row][1] for row in rows] + [examples[row][2] for row in rows])
    plain = F.cross_entropy(queries @ passages.T / 0.05, torch.arange(5), reduction="sum")
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    warm = replace(job.strategy, temperature=0.5)
    plain = F.cross_entropy(queries @ passages.T / 0.5, torch.arange(5), reduction="sum")
    torch.testing.assert_close(EMBED.loss_sum(session.model, inputs, targets, warm), plain, rtol=1e-5, atol=1e-5)
    assert EMBED.weight(session.train, rows) == 5


def test_the_same_text_is_no_negative_of_itself(tmp_path: Path) -> None:
    rows = [
        {"query": "good film", "pos": ["the plot"], "neg": ["bad actor"]},
        {"query": "bad film", "pos": ["the plot"], "neg": ["good film"]},
        {"query": "good film", "pos": ["a scene"], "neg": []},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = tiny_model(tmp_path / "model")
    tokenizer = tuning.load_tokenizer(source)
    from trimtab.data import open_labelled

    split = open_labelled(
        str(tmp_path / "rows.jsonl"), task="embed", columns=("query", "pos", "neg"), label_column="", labels=()
    )
    encoded = EMBED.encode(split, tokenizer, 24)
    out = EMBED.targets(encoded, EMBED.collator(tokenizer, 24), np.arange(3))
    # columns: the three positives, then both negatives
    assert out.tolist() == [
        [False, True, True, False, True],
        [True, False, False, False, False],
        [True, False, False, False, True],
    ]
    vectors = F.normalize(torch.randn(8, 4), dim=1)
    scores = vectors[:3] @ vectors[3:].T / 0.05
    kept = [scores[row][~out[row]] for row in range(3)]
    places = [int((~out[row][:row]).sum()) for row in range(3)]
    plain = sum(-torch.log_softmax(row, 0)[place] for row, place in zip(kept, places, strict=True))
    torch.testing.assert_close(info_nce_sum(vectors, out, 0.05), plain)


def test_the_loss_of_scored_pairs_is_cosent(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path, scored=True)
    session = prepare(job, corpus)
    session.model.eval()
    rows = np.array([3, 9, 4, 20, 11, 30])
    inputs, scores = session.inputs(rows)
    loss = EMBED.loss_sum(session.model, inputs, scores, job.strategy)
    examples = list(corpus.train)
    one, other = (plain_vectors(session, [examples[row].texts[at] for row in rows]) for at in (0, 1))
    cosines = (one * other).sum(1)
    pairs = [(i, j) for i in range(6) for j in range(6) if examples[rows[i]].label > examples[rows[j]].label]
    plain = torch.log(1 + sum(torch.exp((cosines[j] - cosines[i]) / 0.05) for i, j in pairs))
    torch.testing.assert_close(loss / 6, plain, rtol=1e-5, atol=1e-5)
    assert len(pairs) > 3
    same = cosent_sum(torch.cat([one, other]), torch.ones(6), 0.05)
    assert same == 0  # nothing is to be ordered


@pytest.mark.parametrize(("scored", "rate", "temperature"), [(False, 3e-3, 0.2), (True, 1e-3, 0.05)])
def test_a_training_makes_vectors_better_and_what_came_before_is_scored(
    tmp_path: Path, scored: bool, rate: float, temperature: float
) -> None:
    """Without dropout, or so small a model takes long to learn."""
    job, corpus = embed_job(tmp_path, scored=scored, layers=2, dropout=0.0, temperature=temperature)
    schedule = replace(job.strategy.schedule, epochs=8, learning_rate=rate)
    job = replace(job, strategy=replace(job.strategy, schedule=schedule))
    events, session = run(job, corpus)
    scores = [event for event in events if isinstance(event, Evaluated)]
    assert scores[0].step == 0 and len(scores) == 9
    done = events[-1].run
    assert done.dev.main.name == ("spearman" if scored else "mrr")
    assert done.untrained_metric == scores[0].score.main.value
    assert done.dev.main.value > done.untrained_metric + 0.05
    found = EMBED.findings(session.model, session.tokenizer, session.scored("dev", session.dev), corpus.dev)
    assert found.worst and all(len(example.texts) == (2 if scored else 3) for example in found.worst)
    losses = [example.loss for example in found.worst]
    assert losses == sorted(losses, reverse=True)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path, "lora")
    _, straight = run(replace(job, folder=tmp_path / "straight"), corpus)
    run_until(replace(job, save_steps=3), corpus, Saved, count=3)
    events, resumed = run(replace(job, resume=True), corpus)
    assert next(event for event in events if isinstance(event, Started)).resumed_step
    assert_equal(trained(resumed), trained(straight))


def artifact_of(job: Job, session: Session, folder: Path, prefixes: Prefixes) -> None:
    artifact = ArtifactFacts(
        adapter=any(part.adapter for part in job.strategy.parts),
        task="embed",
        labels=(),
        columns=("query", "pos", "neg"),
        label_column="",
        outputs=0,
        base=Base(
            name=str(job.source.folder),
            hub_id="",
            revision="",
            family=job.spec.family,
            weights_sha256=weights_hash(job.source.folder),
        ),
        strategy=job.strategy,
        trimtab_version="0",
        prefixes=prefixes,
    )
    folder.mkdir()
    save_artifact(folder, artifact, session.model, session.tokenizer, job.spec)


def use_cls(folder: Path) -> None:
    """Publish the model in `folder` with the first token for its pooling, as sentence-transformers 6 writes it."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling",
                "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"}]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))


@pytest.mark.parametrize(("method", "pooling"), [("full", "cls"), ("lora", "mean"), ("adapter", "cls")])
def test_the_artifact_opens_alone_and_elsewhere_and_computes_the_same(
    tmp_path: Path, method: str, pooling: str
) -> None:
    prefixes = Prefixes("a : ", "the : ")
    job, corpus = embed_job(tmp_path, method, prefixes=prefixes)
    if pooling == "cls":
        use_cls(job.source.folder)
        spec = read_spec(job.source)
        assert spec.pooling == "cls"
        job = replace(job, spec=spec, strategy=embed_strategy(job.source, method))
    assert job.strategy.pooling is not None and job.strategy.pooling.kind == pooling
    _, session = run(job, corpus)
    rows = session.dev.first(6)
    trained_vectors = EMBED.outputs(session.model, rows, session.collator)
    assert trained_vectors.shape == (18, 32)
    folder = tmp_path / "artifact"
    artifact_of(job, session, folder, prefixes)
    artifact = open_artifact(folder)
    require_equal(artifact, rows, trained_vectors)
    assert artifact.facts.strategy == job.strategy and artifact.facts.prefixes == prefixes
    with pytest.raises(ArtifactError, match="TT-A007"):
        require_equal(artifact, rows, trained_vectors + 0.5)

    example = next(iter(corpus.dev))
    query, passage = (
        text.removeprefix(before) for text, before in zip(example.texts, ("a : ", "the : "), strict=False)
    )
    asked = EMBED.asked((query,), None, artifact.facts.columns)
    (vector,) = (prediction.vector for prediction in artifact.predict(asked))
    np.testing.assert_allclose(vector, trained_vectors[0], rtol=1e-5, atol=1e-6)
    found = artifact.of_passages()
    (vector,) = (p.vector for p in found.predict(EMBED.asked((passage,), None, found.facts.columns)))
    np.testing.assert_allclose(vector, trained_vectors[1], rtol=1e-5, atol=1e-6)

    # Without Trimtab: transformers and PEFT alone.
    if method == "full":
        model = AutoModel.from_pretrained(folder)
    else:
        base = AutoModel.from_pretrained(job.source.folder)
        model = PeftModel.from_pretrained(base, folder)
        assert model.peft_config["default"].task_type == "FEATURE_EXTRACTION"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        plain = plain_vectors(
            replace(session, model=model.eval(), tokenizer=tokenizer), list(example.texts), pooling=pooling
        )
    np.testing.assert_allclose(plain.numpy(), trained_vectors[:3], rtol=1e-4, atol=1e-5)


def test_an_adapter_is_a_card_and_can_be_merged(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path, "lora")
    _, session = run(job, corpus)
    folder, merged = tmp_path / "artifact", tmp_path / "merged"
    artifact_of(job, session, folder, Prefixes())
    example = next(iter(corpus.dev))
    trained_vectors = EMBED.outputs(session.model, session.dev.first(1), session.collator)
    cards = AdapterSet()
    cards.load("one", folder)
    np.testing.assert_allclose(
        cards.predict(example.texts[:1])[0].vector, trained_vectors[0], rtol=1e-5, atol=1e-6
    )
    merged.mkdir()
    assert merge_artifact(folder, merged).holds
    whole = open_artifact(merged)
    assert not whole.facts.adapter and (merged / "1_Pooling" / "config.json").is_file()
    (vector,) = (p.vector for p in whole.predict(EMBED.asked(example.texts[:1], None, ("query",))))
    np.testing.assert_allclose(vector, trained_vectors[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_sentence_transformers_opens_the_artifact(tmp_path: Path, method: str) -> None:
    library = pytest.importorskip("sentence_transformers")
    prefixes = Prefixes("a : ", "the : ")
    job, corpus = embed_job(tmp_path, method, prefixes=prefixes)
    _, session = run(job, corpus)
    folder = tmp_path / "artifact"
    artifact_of(job, session, folder, prefixes)
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    example = next(iter(corpus.dev))
    query, passage = example.texts[0].removeprefix("a : "), example.texts[1].removeprefix("the : ")
    trained_vectors = EMBED.outputs(session.model, session.dev.first(1), session.collator)
    np.testing.assert_allclose(theirs.encode(query), trained_vectors[0], rtol=1e-4, atol=1e-5)
    document = theirs.encode(passage, prompt_name="document")
    np.testing.assert_allclose(document, trained_vectors[1], rtol=1e-4, atol=1e-5)
    assert theirs.max_seq_length == 24 and theirs.similarity_fn_name == "cosine"


def test_an_artifact_whose_pooling_was_changed_is_refused(tmp_path: Path) -> None:
    job, corpus = embed_job(tmp_path)
    session = prepare(job, corpus)
    folder = tmp_path / "artifact"
    artifact_of(job, session, folder, Prefixes())
    file = folder / "1_Pooling" / "config.json"
    file.write_text(file.read_text().replace("true", "false"))
    with pytest.raises(ArtifactError, match="TT-A003"):
        open_artifact(folder)


def test_the_longest_texts_go_first_whatever_their_number(tmp_path: Path) -> None:
    data = write_ranked(tmp_path / "data", negatives=2)
    source = tiny_model(tmp_path / "model")
    corpus = open_corpus(str(data))
    described = facts(corpus, source)
    encoded = EMBED.encode(corpus.train, tuning.load_tokenizer(source), 24)
    texts = [[len(source_ids) for source_ids in _ids(source, example.texts)] for example in corpus.train]
    assert encoded.widths.tolist() == [max(row) for row in texts]
    assert encoded.loads.tolist() == [4 * max(row) for row in texts]
    assert encoded.lengths.tolist() == [sum(row) for row in texts]
    assert described.texts.most == 4 and described.lengths.longest == max(map(max, texts))


def _ids(source, texts: tuple[str, ...]) -> list[list[int]]:
    return AutoTokenizer.from_pretrained(source.folder)(list(texts))["input_ids"]


def test_a_decoder_cannot_be_opened_for_embeddings_before_it_is_planned(tmp_path: Path) -> None:
    from trimtab.planning.request import refuse_unanswering

    spec = read_spec(tiny_model(tmp_path, "llama"))
    with pytest.raises(UsageError, match="TT-M065"):
        refuse_unanswering("embed", spec)
    bert = read_spec(tiny_model(tmp_path / "bert", "bert"))
    refuse_unanswering("embed", bert)
    with pytest.raises(UsageError, match="TT-M067"):
        refuse_unanswering("embed", replace(bert, pooling="lasttoken"))
