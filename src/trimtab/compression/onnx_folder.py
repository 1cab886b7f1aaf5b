"""The folder of an artifact that ONNX Runtime or OpenVINO computes: graph, config, tokenizer, artifact.json, and
a script that runs it without Trimtab, with that one, tokenizers and numpy alone. What the script has to know
stands in run.json: no text of others becomes code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.artifacts import ArtifactFacts, Engine
from trimtab.data.spec import Task
from trimtab.evaluation import Artifact
from trimtab.evaluation.onnx_model import ONNX_FILE
from trimtab.evaluation.openvino_model import NUMBERS, OPENVINO_FILE

SCRIPT, SETTINGS = "run.py", "run.json"


def write_beside(artifact: Artifact, folder: Path, engine: Engine = "onnx") -> ArtifactFacts:
    """Write everything but the graph, artifact.json last. Returns what that says: where the graph is written
    later, it is to be written again. Raises OSError."""
    model, facts = artifact.model, replace(artifact.facts, adapter=False, engine=engine)
    config = model.config
    config.architectures = config.architectures or [type(model).__name__]
    config.to_json_file(str(folder / "config.json"))
    artifact.tokenizer.save_pretrained(str(folder))
    artifact.objective.write_beside(folder, facts, model)
    settings = {
        "labels": facts.labels,
        "max_length": facts.strategy.max_length,
        "pad_token_id": int(artifact.tokenizer.pad_token_id),
        "prefix": facts.prefixes.put("")[0] if facts.task == "embed" else "",
    }
    (folder / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / SCRIPT).write_text(_script(facts), encoding="utf-8")
    facts.write(folder)
    return facts


def _script(facts: ArtifactFacts) -> str:
    pooling = facts.strategy.pooling
    vector = "found[row, 0]" if pooling is not None and pooling.kind == "cls" else _MEAN
    runtime = _RUNTIMES[facts.engine]
    return _SCRIPT.format(
        file=runtime.file,
        package=runtime.package,
        imports=runtime.imports,
        run=runtime.run,
        usage=_USAGE.get(facts.task, '"TEXT" ["TEXT" ...]'),
        encode=_ENCODE.get(facts.task, 'tokenizer.encode_batch([known["prefix"] + text for text in texts])'),
        say=_SAY.get(facts.task, _SAY["classify"]).replace("VECTOR", vector),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Runtime:
    """Of the script: the `package` that runs `file`, what it `imports`, and how it `run`s."""

    file: str
    package: str
    imports: str
    run: str


_FED = "fed = {name: np.array([getattr(row, inputs[name]) for row in rows], np.int64) for name in wanted}\n"
_RUNTIMES: Mapping[Engine, _Runtime] = {
    "onnx": _Runtime(
        file=ONNX_FILE,
        package="onnxruntime",
        imports="import numpy as np, onnxruntime",
        run=f'file = str(here / "{ONNX_FILE}")\n'
        'session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])\n'
        f"wanted = [one.name for one in session.get_inputs()]\n{_FED}(found,) = session.run(None, fed)",
    ),
    "openvino": _Runtime(
        file=OPENVINO_FILE,
        package="openvino",
        imports='sys.modules["openvino_telemetry"] = None  # with it every import is told to its makers\n'
        "import numpy as np, openvino",
        run=f"numbers = {json.dumps(NUMBERS)}  # else bf16, where the processor has it\n"
        f'model = openvino.compile_model(here / "{OPENVINO_FILE}", "CPU", numbers)\n'
        f"wanted = [one.any_name for one in model.inputs]\n{_FED}found = model(fed)[0]",
    ),
}
_MEAN = "(found[row] * np.array(one.attention_mask)[:, None]).sum(0)"
_SCRIPT = '''"""Runs {file}: pip install {package} tokenizers numpy; python run.py {usage}"""
import json, sys
from pathlib import Path
{imports}
from tokenizers import Tokenizer

here, texts = Path(__file__).parent, sys.argv[1:]
known = json.loads((here / "run.json").read_text(encoding="utf-8"))
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.enable_truncation(known["max_length"])
tokenizer.enable_padding(pad_id=known["pad_token_id"])
rows = {encode}
inputs = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
{run}
for row, one in enumerate(rows):
{say}
'''
_USAGE: Mapping[Task, str] = {"pair": '"TEXT" "OTHER TEXT"', "tag": '"WORDS WITH SPACES" [...]'}
_ENCODE: Mapping[Task, str] = {
    "pair": "tokenizer.encode_batch([tuple(texts[:2])])",
    "tag": "tokenizer.encode_batch([text.split() for text in texts], is_pretokenized=True)",
}
_SAY: Mapping[Task, str] = {
    "classify": "    shares = np.exp(found[row] - found[row].max())\n    shares /= shares.sum()\n"
    '    print(known["labels"][int(shares.argmax())], round(float(shares.max()), 4), sep="\\t")',
    "multilabel": '    print(*(known["labels"][i] for i in np.flatnonzero(found[row] > 0)), sep="\\t")',
    "regress": "    print(round(float(found[row, 0]), 4))",
    "tag": "    firsts = {word: at for at, word in reversed(list(enumerate(one.word_ids))) if word is not None}\n"
    "    for number, word in enumerate(texts[row].split()):\n"
    '        tag = known["labels"][int(found[row, firsts[number]].argmax())] if number in firsts else "O"\n'
    '        print(f"{word}/{tag}", end=" ")\n'
    "    print()",
    "embed": "    vector = VECTOR\n    print(json.dumps((vector / np.linalg.norm(vector)).tolist()))",
}
