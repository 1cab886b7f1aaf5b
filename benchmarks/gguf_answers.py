"""A tuned chat model as GGUF files: are they still the model?

    python benchmarks/gguf_answers.py --artifact DIR --data FOLDER --out FOLDER [--prompts 50] [--bits q8,q4]

Each file is made by `trimtab compress DIR quantize`, opened again in transformers, and read beside the model it
came from on the first rows of test: the largest difference of logits as a share of the largest logit, how many
prompts are answered with the same first 16 tokens (greedy), and perplexity. What stands in --out is kept.
"""

import argparse
from pathlib import Path
from typing import cast

from machine_facts import print_facts

from trimtab import compress
from trimtab.artifacts import weight_bytes
from trimtab.compression.language_gate import LanguageReadings, compare_language, read_language
from trimtab.compression.wanted import Bits, Quantize
from trimtab.data.spec import Example
from trimtab.evaluation import open_artifact
from trimtab.study import CompressRequest
from trimtab.study.compressing import corpus_of
from trimtab.study.request import Reading
from trimtab.units import format_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--bits", default="q8,q4")
    arguments = parser.parse_args()
    print_facts()
    rows = some_rows(arguments)
    before = read(arguments.artifact, rows)
    for bits in arguments.bits.split(","):
        made = arguments.out / bits
        if not made.is_dir():
            wanted = Quantize(bits=cast("Bits", bits))
            asked = CompressRequest(
                folder=str(arguments.artifact), out=str(made), wanted=wanted, data=arguments.data, force=True
            )
            list(compress(asked))
        show(bits, made, before, read(made, rows))


def some_rows(arguments: argparse.Namespace) -> list[Example]:
    """The first rows of test."""
    facts = open_artifact(arguments.artifact).facts
    corpus = corpus_of(arguments.data, Reading(), facts)
    assert corpus.test is not None, "the data have a test split"
    return [example for _, example in zip(range(arguments.prompts), corpus.test, strict=False)]


def read(folder: Path, rows: list[Example]) -> LanguageReadings:
    return read_language(open_artifact(folder), rows, prompts=len(rows))


def show(bits: str, made: Path, before: LanguageReadings, after: LanguageReadings) -> None:
    found = compare_language(before, after)
    ratio = found.perplexity_after / found.perplexity_before - 1
    print(
        f"{bits}: {format_bytes(weight_bytes(made))}, logits {found.relative_difference:.2%} apart, same answers "
        f"{found.same_answers}/{found.prompts}, same likeliest token {found.agreement:.2%}, perplexity "
        f"{found.perplexity_before:.3f} -> {found.perplexity_after:.3f} ({ratio:+.1%})",
        flush=True,
    )


if __name__ == "__main__":
    main()
