"""Many chats on one base with many LoRA adapters: Trimtab's Writer beside one `generate` of transformers after the
other through PEFT, by turns in one process; then the Writer alone under a load of 80 %.

    python benchmarks/chat_serving.py --model DIR [--adapters 8] [--chats 16] [--tokens 64] [--rounds 3]
              [--requests 100] [--threads N] [--precision fp32] [--profile]

Adapters are random, rank 8 on every linear matrix. Both write the same greedy answers to the same prompts, with
the adapters dealt out in turn; "same answers" says how many were equal, which in fp32 are all but for rounding.
"alone" is `generate` on the base without adapters, as a base merged with one would run. The load is open: requests
come by chance, however long others wait, for 2/3 to 4/3 of `--tokens`. Run nothing else beside it.
"""

import argparse
import copy
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from machine_facts import print_facts
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.data.spec import Turn
from trimtab.evaluation.generate import answer_of
from trimtab.evaluation.objectives import OBJECTIVES
from trimtab.methods import Lora, Strategy
from trimtab.models import ModelSource, ModelSpec, read_spec
from trimtab.serving.facts import Limits, WriteRequest
from trimtab.serving.forks import BASE, Forked, roads_of
from trimtab.serving.writing import Ticket, Writer, ticket

RANK, ALPHA, SPREAD, LOAD = 8, 16, 0.01, 0.8
SUBJECTS = ("the sea", "a contract", "two trains", "bread", "the moon", "a fever", "old maps", "a small town")
ASKED = (
    "Explain {} to a child.",
    "Write a short letter about {}.",
    "What should I know before I write about {}? Give me three points, each with a reason and an example.",
    "Tell me a story of {}.",
)

Said = tuple[str, int]
"""An answer, and how many tokens it has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print_facts()
    print(f"{arguments.threads} threads, {arguments.precision}")
    print(f"{arguments.chats} chats, {arguments.adapters} adapters of rank {RANK} on all linear matrices")
    bench = Bench(arguments)
    if arguments.profile:
        bench.profile()
        return
    capacity = bench.throughput()
    if arguments.requests:
        bench.load(capacity)


class Bench:
    """One base, its adapters for the Writer and the same ones for PEFT."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        source = ModelSource(folder=arguments.model, name=str(arguments.model))
        self.spec = read_spec(source)
        self.tokenizer = OBJECTIVES["instruct"].tokenizer(source)
        self.base = tuning.load_language_model(source, pad_token_id=int(self.tokenizer.pad_token_id))
        tuning.cast(self.base.requires_grad_(False).eval(), arguments.precision)
        self.names = [f"a{number}" for number in range(arguments.adapters)]
        adapted = {name: adapter(self.base, self.spec, seed) for seed, name in enumerate(self.names)}
        beneath = tuning.sharing_copy(self.base)
        tuning.block(beneath, self.spec)  # as a service does
        self.served = Forked(beneath, self.spec)
        for name, model in adapted.items():
            self.served.add(name, roads_of(model, self.base))
        self.peft = through_peft(self.base, adapted)

    def writer(self) -> Writer:
        return Writer(self.served, Limits(chats=self.arguments.chats))

    def ticket(self, number: int, tokens: int) -> Ticket:
        text = ASKED[number % len(ASKED)].format(SUBJECTS[number // len(ASKED) % len(SUBJECTS)])
        request = WriteRequest(turns=(Turn("user", text),), most_tokens=tokens)
        return ticket(self.names[number % len(self.names)], request, self.tokenizer)

    def throughput(self) -> float:
        """Print tokens a second of each way, in rounds; returns the Writer's."""
        asked = [self.ticket(number, self.arguments.tokens) for number in range(self.arguments.chats)]
        ways: dict[str, Callable[[], list[Said]]] = {
            "writer": lambda: at_once(self.writer(), asked),
            "PEFT": lambda: one_by_one(self.peft, self.tokenizer, asked, switched=True),
            "alone": lambda: one_by_one(self.base, self.tokenizer, asked, switched=False),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(self.arguments.rounds + 1):
            said = {}
            for name, way in ways.items():
                before = time.perf_counter()
                said[name] = way()
                rate = sum(tokens for _, tokens in said[name]) / (time.perf_counter() - before)
                if turn:  # the first warms up
                    rates[name].append(rate)
            if not turn:
                continue
            same = sum(one == other for one, other in zip(said["writer"], said["PEFT"], strict=True))
            numbers = "  ".join(f"{name} {found[-1]:6.1f}" for name, found in rates.items())
            print(f"round {turn}: tokens/s {numbers}  same answers {same}/{len(asked)}", flush=True)
        middle = {name: median(found) for name, found in rates.items()}
        for other in ("PEFT", "alone"):
            print(f"writer over {other}, medians: {middle['writer'] / middle[other]:.2f} times the tokens/s")
        return middle["writer"]

    def load(self, capacity: float) -> None:
        """Requests by chance at 80 % of `capacity` tokens a second."""
        draw, count, middle = random.Random(0), self.arguments.requests, self.arguments.tokens
        asked = [self.ticket(number, draw.randint(middle * 2 // 3, middle * 4 // 3)) for number in range(count)]
        rate = LOAD * capacity / middle
        due = np.cumsum([draw.expovariate(rate) for _ in asked])
        writer, came, gaps, first, whole = self.writer(), 0, [], [], []
        told: dict[Ticket, float] = {}
        arrived: dict[Ticket, float] = {}
        start = time.perf_counter()
        while came < count or not writer.idle:
            now = time.perf_counter() - start
            while came < count and due[came] <= now:
                writer.admit(asked[came])
                arrived[asked[came]] = float(due[came])
                came += 1
            if writer.idle:
                time.sleep(max(0.0, float(due[came]) - now))
                continue
            pieces = writer.step()
            now = time.perf_counter() - start
            for one, piece in pieces:
                (gaps if one in told else first).append(now - told.get(one, arrived[one]))
                told[one] = now
                if piece.finish:
                    whole.append((now - arrived[one], piece.tokens))
        print(
            f"load of {LOAD:.0%}: {count} requests in {now:.0f} s, {sum(n for _, n in whole) / now:.1f} tokens/s"
        )
        per_token = [seconds / tokens for seconds, tokens in whole]
        for name, found in (
            ("whole answer", [seconds for seconds, _ in whole]),
            ("a token of it", per_token),
            ("first piece", first),
            ("gap between pieces", gaps),
        ):
            half, most = np.percentile(found, 50), np.percentile(found, 99)
            print(f"{name:20} p50 {half:7.3f} s  p99 {most:7.3f} s  p99/p50 {most / half:5.2f}")

    def profile(self) -> None:
        """Where the time of steps goes in which all write."""
        writer = self.writer()
        for number in range(self.arguments.chats):
            writer.admit(self.ticket(number, 256))
        for _ in range(6):
            writer.step()
        times = []
        for _ in range(20):
            before = time.perf_counter()
            writer.step()
            times.append(time.perf_counter() - before)
        print(f"a step: median {1e3 * median(times):.1f} ms, mean {1e3 * mean(times):.1f} ms")
        with torch.profiler.profile() as found:
            for _ in range(5):
                writer.step()
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=22, max_name_column_width=40))


def adapter(base: PreTrainedModel, spec: ModelSpec, seed: int) -> PreTrainedModel:
    """Random LoRA of every linear matrix, on the tensors of `base`."""
    torch.manual_seed(seed)
    part = Lora(rank=RANK, alpha=ALPHA, targets=("q", "k", "v", "o", "gate", "up", "down"))
    precision = "bf16" if base.dtype == torch.bfloat16 else "fp32"
    strategy = Strategy(method="lora", parts=(part,), precision=precision)
    model = tuning.on_same_weights(base, strategy, spec, (), 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=SPREAD)
    return model.requires_grad_(False).eval()


def through_peft(base: PreTrainedModel, adapted: dict[str, PreTrainedModel]) -> PreTrainedModel:
    """The same adapters on a PEFT model of its own modules."""
    shared: list[object] = [*base.parameters(), *base.buffers()]
    model = copy.deepcopy(base, {id(thing): thing for thing in shared})
    (first, *others) = adapted
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config, adapter_name=first)
    for name in others:
        model.add_adapter(name, config)
    places = dict(model.named_parameters())
    with torch.no_grad():
        for adapter_name, one in adapted.items():
            for name, parameter in one.named_parameters():
                if ".lora_" in name:
                    place = places[f"base_model.model.{name}".replace(".default.", f".{adapter_name}.")]
                    place.data = parameter.data
    return model.eval()


def at_once(writer: Writer, asked: list[Ticket]) -> list[Said]:
    """What the Writer writes."""
    texts, tokens = dict.fromkeys(asked, ""), dict.fromkeys(asked, 0)
    for one in asked:
        writer.admit(one)
    while not writer.idle:
        for one, piece in writer.step():
            texts[one] += piece.text
            tokens[one] = piece.tokens
    return [(texts[one], tokens[one]) for one in asked]


@torch.inference_mode()
def one_by_one(model: PreTrainedModel, tokenizer: Tokenizer, asked: list[Ticket], *, switched: bool) -> list[Said]:
    """What `generate` writes."""
    found = []
    for one in asked:
        if switched and one.adapter != BASE:
            model.set_adapter(one.adapter)
        ids = torch.tensor([one.prompt])
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=one.request.most_tokens,
            eos_token_id=list(one.ends),
            pad_token_id=int(tokenizer.pad_token_id),
        )
        with tuning.quiet_transformers():
            written = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        said = answer_of(tokenizer, written[0, len(one.prompt) :].tolist(), one.ends)
        found.append((said.text.strip(), said.tokens))
    return found


if __name__ == "__main__":
    main()
