"""The moving average of the trained weights: against torch's AveragedModel, and in the loop."""

from pathlib import Path

import pytest
import torch
from test_table import READ, Net
from test_table import step as backward_of_table
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tiny_training import assert_equal, run_until, tiny_job, trained
from trimtab.methods import AdamW, Head, Precision, Schedule, Strategy, Weights
from trimtab.training import Evaluated, Finished, Preflight, Saved, Step, Training, checkpoint
from trimtab.training.optimizer import Optimizer, ema_decay_at

DECAY = 0.9


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))


def strategy(decay: float | None = DECAY, precision: Precision = "fp32") -> Strategy:
    return Strategy(method="head", parts=(Head(),), precision=precision, ema_decay=decay)


def update(net: nn.Module, optimizer: Optimizer, number: int) -> None:
    draw = torch.Generator().manual_seed(number)
    x, labels = torch.randn(8, 6, generator=draw), torch.randint(0, 2, (8,), generator=draw)
    nn.functional.cross_entropy(net(x.to(net[0].weight.dtype)).float(), labels).backward()
    optimizer.collect()
    optimizer.step(0.05)


def torch_average(net: nn.Module, decay: float, *, warmed: bool) -> AveragedModel:
    """torch's; its first update is a copy of the start."""

    def fn(averages, weights, count) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count))) if warmed else decay
        get_ema_multi_avg_fn(now)(averages, weights, count)

    average = AveragedModel(net, multi_avg_fn=fn)
    average.update_parameters(net)
    return average


@pytest.mark.parametrize(("decay", "warmed"), [(0.15, False), (0.9, True), (0.9999, True)])
def test_it_is_the_average_of_torch(decay: float, warmed: bool) -> None:
    net = small_net()
    optimizer, theirs = Optimizer(net, strategy(decay)), torch_average(net, decay, warmed=warmed)
    for number in range(12):
        update(net, optimizer, number)
        theirs.update_parameters(net)
    for name, expected in theirs.module.named_parameters():
        assert torch.equal(optimizer.averages[name], expected), name
        assert not torch.equal(expected, net.get_parameter(name)), name


def test_the_decay_warms_up() -> None:
    """(1 + n) / (10 + n) until that is more than the decay: 0.9 from update 80 on."""
    assert [ema_decay_at(0.9, n) for n in (1, 2, 79, 80, 1000)] == [2 / 11, 3 / 12, 80 / 89, 0.9, 0.9]


def test_of_low_precision_weights_the_masters_are_averaged() -> None:
    net = small_net()
    optimizer = Optimizer(net, strategy(precision="bf16"))
    net.to(torch.bfloat16)
    expected = {name: master.detach().clone() for name, master in optimizer.masters.items()}
    for number in range(5):
        update(net, optimizer, number)
        decay = min(DECAY, (2 + number) / (11 + number))
        expected = {name: decay * a + (1 - decay) * optimizer.masters[name] for name, a in expected.items()}
    for name, average in optimizer.averages.items():
        torch.testing.assert_close(average, expected[name].detach(), atol=1e-7, rtol=1e-6)
        assert not torch.equal(average, average.bfloat16().float()), "rounded on the way"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_is_in_the_model_for_a_while_and_the_masters_come_back(precision: Precision) -> None:
    net = small_net()
    optimizer = Optimizer(net, strategy(precision=precision))
    net.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    for number in range(3):
        update(net, optimizer, number)
    before = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    weights = trained_of(net)
    averages = {name: average.to(net[0].weight.dtype) for name, average in optimizer.averages.items()}
    with pytest.raises(ZeroDivisionError), optimizer.averaged():
        assert_equal(trained_of(net), averages)
        assert not torch.equal(weights["0.weight"], net[0].weight)
        raise ZeroDivisionError
    assert_equal(trained_of(net), weights)
    assert_equal(optimizer.state(), before)
    update(net, optimizer, 4)  # the optimiser still finds its own


def trained_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def test_without_a_decay_nothing_is_kept() -> None:
    net = small_net()
    optimizer = Optimizer(net, strategy(None))
    update(net, optimizer, 0)
    assert optimizer.averages == {} and not any(name.startswith("ema/") for name in optimizer.state())
    assert_equal(optimizer.kept(), optimizer.weights())


def test_of_a_token_table_the_rows_that_are_read_are_averaged() -> None:
    made = Strategy(method="full", parts=(Weights(),), optimizer=AdamW(), ema_decay=DECAY)
    net = Net()
    start = net.embedding.weight.detach()[READ].clone()
    optimizer = Optimizer(net, made, READ)
    backward_of_table(net, 1)
    optimizer.collect()
    optimizer.step(0.01)
    average = optimizer.averages["embedding.weight"]
    torch.testing.assert_close(average, start + 9 / 11 * (net.embedding.weight[READ] - start))
    other = torch.tensor([0, 4, 5, 6, 7, 21])  # the data has changed: 3 and 49 are gone, 5 and 6 are new
    fresh = Net()
    restored = Optimizer(fresh, made, other)
    restored.restore({name: tensor.clone() for name, tensor in optimizer.state().items()})
    found = restored.averages["embedding.weight"]
    assert torch.equal(found[[0, 1, 4, 5]], average[[0, 2, 3, 4]])
    assert torch.equal(found[[2, 3]], fresh.embedding.weight[[5, 6]])


def test_a_missing_average_is_refused() -> None:
    state = Optimizer(small_net(), strategy()).state()
    del state["ema/0.weight"]
    with pytest.raises(KeyError, match=r"ema/0\.weight"):
        Optimizer(small_net(), strategy()).restore(state)


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    """By hand from the weights after each step; the rate is so high that weights and average are far apart."""
    schedule = Schedule(epochs=3, learning_rate=3e-3, evaluations=2)
    job, corpus = tiny_job(tmp_path, schedule=schedule, ema_decay=0.8)
    training = Training(job, corpus)
    average, best, scores, run = {}, {}, {}, None
    for event in training:
        if isinstance(event, Step):
            decay = min(0.8, (1 + event.step) / (10 + event.step))
            now = trained(training.session)
            average = {name: torch.lerp(average[name], now[name], 1 - decay) for name in now}
        elif isinstance(event, Evaluated):
            scores[event.step] = event.score
            best = average if event.best else best
        elif isinstance(event, Saved):
            kept = checkpoint.load_best(Path(event.path))
            read = {name.removeprefix("master/"): t for name, t in kept.items() if name.startswith("master/")}
            torch.testing.assert_close(read["classifier.weight"], best["classifier.weight"])
        elif isinstance(event, Finished):
            run = event.run
        elif not average:
            average = trained(training.session)
    assert run is not None and run.dev == scores[run.best_step]
    result = trained(training.session)
    assert result.keys() == best.keys()
    for name, weight in result.items():
        torch.testing.assert_close(weight, best[name], atol=1e-6, rtol=1e-5)
    assert not torch.equal(result["classifier.weight"], now["classifier.weight"])


def test_the_last_average_is_kept_where_it_is_the_best(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, schedule=Schedule(epochs=1, learning_rate=3e-3), ema_decay=0.8)
    training = Training(job, corpus)
    last = {}
    for event in training:
        if isinstance(event, Saved):
            last = {name: t.clone() for name, t in training.session.optimizer.averages.items()}
    rows = training.session.optimizer.weights()
    name = "bert.embeddings.word_embeddings.weight"
    result = trained(training.session)
    assert torch.equal(result.pop(name)[rows[f"rows/{name}"]], last.pop(name))
    assert_equal(result, last)


def test_the_preflight_leaves_no_trace_in_it(tmp_path: Path) -> None:
    job, corpus = tiny_job(tmp_path, ema_decay=0.5)
    session = run_until(job, corpus, Preflight)
    assert session.optimizer.updates == 0
    assert_equal(session.optimizer.kept(), session.optimizer.weights())
