"""Wall-clock time of the verbs that never load torch: a fresh process each, median of seven, after one warm-up.

python benchmarks/light_verbs.py
"""

import subprocess
import sys
import time
from statistics import median

from machine_facts import print_facts

VERBS = (
    ["--help"],
    ["plan", "demo", "--data", "demo"],
    ["estimate", "bert-base-chinese", "--method", "lora"],
    ["cost", "train", "bert-base-chinese", "--examples", "50000"],  # every machine that somebody rents out
    ["cost", "serve", "qwen2.5-7b", "--per-day", "100000", "--input-tokens", "512", "--output-tokens", "128"],
)
ROUNDS = 7


def main() -> None:
    print_facts()
    for verb in VERBS:
        command = [sys.executable, "-m", "trimtab", *verb]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        print(f"trimtab {' '.join(verb):50} {median(seconds):.2f} s (best {min(seconds):.2f})")


if __name__ == "__main__":
    main()
