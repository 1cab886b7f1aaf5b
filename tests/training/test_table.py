"""The token table against torch's own AdamW on the whole embedding."""

import pytest
import torch
from torch import nn

from trimtab.methods import AdamW, Precision, Strategy, Weights
from trimtab.training.optimizer import Optimizer
from trimtab.training.table import token_table

VOCABULARY, WIDTH, PADDING = 50, 6, 0
READ = torch.tensor([0, 3, 4, 7, 21, 49])
SETTINGS = AdamW(betas=(0.8, 0.95), epsilon=1e-6, weight_decay=0.1)


class Net(nn.Module):
    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PADDING)
        self.out = nn.Linear(WIDTH, VOCABULARY if tied else 2)
        if tied:
            self.out.weight = self.embedding.weight

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.embedding(ids).mean(dim=1)).float()


def optimizer_of(net: Net, precision: Precision = "fp32") -> Optimizer:
    strategy = Strategy(method="full", parts=(Weights(),), precision=precision, optimizer=SETTINGS)
    made = Optimizer(net, strategy, READ)
    if precision == "bf16":
        net.bfloat16()
    return made


def step(net: Net, number: int) -> None:
    """Backward of one batch: rows repeat, some of READ are missing, the padding is among them."""
    draw = torch.Generator().manual_seed(number)
    ids = READ[torch.randint(0, 4, (5, 8), generator=draw)]
    nn.functional.cross_entropy(net(ids), torch.randint(0, 2, (5,), generator=draw)).backward()


def update(net: Net, optimizer: Optimizer, number: int) -> None:
    """One whole step on batch `number`."""
    step(net, number)
    optimizer.collect()
    optimizer.clip(1.0)
    optimizer.step(0.01)


def reference(net: Net) -> torch.optim.AdamW:
    decayed = [net.embedding.weight, net.out.weight]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": [net.out.bias], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.95), eps=1e-6, fused=False, foreach=False)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_read_rows_are_those_of_torch_and_the_others_stay(micro_batches: int) -> None:
    ours, theirs = Net(), Net()
    before = ours.embedding.weight.detach().clone()
    optimizer, other = optimizer_of(ours), reference(theirs)
    for number in range(6):
        for micro in range(micro_batches):
            step(ours, 10 * number + micro)
            optimizer.collect()
            step(theirs, 10 * number + micro)
        norm = optimizer.clip(0.05)
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
        assert norm == pytest.approx(float(expected), rel=1e-6) and norm > 0.05
        optimizer.step(0.01)
        other.step()
        other.zero_grad()
    torch.testing.assert_close(ours.out.weight, theirs.out.weight)
    torch.testing.assert_close(ours.embedding.weight[READ], theirs.embedding.weight[READ])
    unread = torch.ones(VOCABULARY, dtype=torch.bool).index_fill_(0, READ, False)
    assert torch.equal(ours.embedding.weight[unread], before[unread])
    assert not torch.equal(theirs.embedding.weight[unread], before[unread])  # decayed, and nothing else


def test_bf16_rows_follow_their_masters() -> None:
    net = Net()
    before = net.embedding.weight.detach().clone().bfloat16()
    optimizer = optimizer_of(net, "bf16")
    for number in range(6):
        update(net, optimizer, number)
    rows, master = net.embedding.weight[READ], optimizer.masters["embedding.weight"]
    assert master.dtype == torch.float32 and master.shape == (len(READ), WIDTH)
    assert torch.equal(rows, master.bfloat16()) and not torch.equal(rows, before[READ])


def test_dropped_gradients_leave_no_trace() -> None:
    """A step after `zero` is the step that would have been without what was dropped."""
    clean, dirty = Net(), Net()
    first, second = optimizer_of(clean), optimizer_of(dirty)
    step(dirty, 1)
    second.collect()
    second.zero()
    for net, optimizer in ((clean, first), (dirty, second)):
        update(net, optimizer, 2)
    assert torch.equal(clean.embedding.weight, dirty.embedding.weight)


def test_a_restored_table_goes_on_alike() -> None:
    net, fresh = Net(), Net()
    optimizer = optimizer_of(net)
    update(net, optimizer, 1)
    kept = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    restored = optimizer_of(fresh)
    restored.restore(kept)
    assert torch.equal(net.embedding.weight, fresh.embedding.weight)
    for one, made in ((net, optimizer), (fresh, restored)):
        update(one, made, 2)
    assert torch.equal(net.embedding.weight, fresh.embedding.weight)


def test_a_table_that_is_shared_is_not_kept_by_rows() -> None:
    assert token_table(Net(tied=True)) is None
    found = token_table(Net())
    assert found is not None and found[0] == "embedding.weight"


def test_a_table_that_is_frozen_keeps_nothing() -> None:
    frozen = Net()
    frozen.embedding.requires_grad_(False)
    optimizer = optimizer_of(frozen)
    assert set(optimizer.masters) == {"out.weight", "out.bias"} and not frozen.embedding.sparse


def test_other_rows_after_a_restore_keep_what_was_learned() -> None:
    """The data has changed: rows 3 and 49 are no longer read, 5 and 6 are new."""
    net, fresh = Net(), Net()
    optimizer = optimizer_of(net)
    for number in range(3):
        update(net, optimizer, number)
    kept = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    assert torch.equal(kept["rows/embedding.weight"], READ)
    rows = torch.tensor([0, 4, 5, 6, 7, 21])  # as many as before
    strategy = Strategy(method="full", parts=(Weights(),), optimizer=SETTINGS)
    restored = Optimizer(fresh, strategy, rows)
    restored.restore(kept)
    assert torch.equal(fresh.embedding.weight, net.embedding.weight)
    state = restored.state()
    for kind in ("exp_avg", "exp_avg_sq"):
        before = torch.zeros(VOCABULARY, WIDTH).index_copy_(0, READ, kept[f"{kind}/embedding.weight"])
        before[[3, 49]] = 0.0
        assert torch.equal(state[f"{kind}/embedding.weight"], before[rows])


def test_a_dense_gradient_is_taken_too() -> None:
    """A model that reads the weight past its embedding."""
    sparse, dense = Net(), Net()
    first, second = optimizer_of(sparse), optimizer_of(dense)
    dense.embedding.sparse = False
    for net, optimizer in ((sparse, first), (dense, second)):
        update(net, optimizer, 1)
    torch.testing.assert_close(sparse.embedding.weight, dense.embedding.weight)


def test_a_class_of_its_own_kind_has_no_table() -> None:
    net = Net()
    net.get_input_embeddings = lambda: (_ for _ in ()).throw(NotImplementedError)  # type: ignore[method-assign]
    assert token_table(net) is None
    assert token_table(nn.Linear(2, 2)) is None
