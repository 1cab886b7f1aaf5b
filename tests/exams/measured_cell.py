"""Run as a program: one training in a fresh process; prints predicted and measured peak memory, in bytes.

python measured_cell.py MODEL_FOLDER DATA_FOLDER OUT_FOLDER METHOD
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from trimtab.data import count_tokens, describe, open_corpus
from trimtab.estimation import estimate
from trimtab.hardware.machine import Calibration, Device, Machine
from trimtab.methods import Choices, Schedule, Strategy, method_named
from trimtab.models import ModelSource, read_spec
from trimtab.training import Finished, Job, Training


def main(model: str, data: str, out: str, method: str) -> None:
    source = ModelSource(folder=Path(model), name=model)
    spec, corpus = read_spec(source), open_corpus(data)
    facts = describe(corpus, count_tokens(corpus.train, source.folder / "tokenizer.json"))
    preset = method_named(method)
    strategy = Strategy(
        method=method,
        parts=preset.parts(spec, Choices()),
        base_precision=preset.base_precision,
        schedule=Schedule(epochs=1),
        batch=32,
        micro_batch=32,
        max_length=128,
    )
    job = Job(source=source, spec=spec, data=facts, strategy=strategy, folder=Path(out), threads=1)
    (run,) = (event.run for event in Training(job, corpus) if isinstance(event, Finished))
    device = Device(name="CPU", kind="cpu", memory_bytes=1, usable_bytes=1)
    calibration = Calibration(key="", matmul_rates=(), threads=1, runtime_bytes=run.runtime_memory_bytes)
    here = Machine(name="here", device=device, calibration=calibration)
    memory = estimate(strategy, spec, facts, replace(here, is_here=True)).memory
    print(
        json.dumps(
            {
                "predicted": memory.peak_bytes.value,
                "measured": run.peak_memory_bytes,
                "runtime": run.runtime_memory_bytes,
                "phase": memory.phase,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
