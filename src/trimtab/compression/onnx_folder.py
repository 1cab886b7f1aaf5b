"""The folder of an ONNX artifact: graph, config, tokenizer, artifact.json, and a script that runs it without
Trimtab, with onnxruntime, tokenizers and numpy alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trimtab.artifacts import ArtifactFacts
from trimtab.data.spec import Task
from trimtab.evaluation import Artifact

SCRIPT = "run.py"


def write_beside(artifact: Artifact, folder: Path) -> ArtifactFacts:
    """Write everything but the graph, which is there already, artifact.json last. Returns what that says. Raises
    OSError."""
    model, facts = artifact.model, replace(artifact.facts, adapter=False, engine="onnx")
    config = model.config
    config.architectures = config.architectures or [type(model).__name__]
    config.to_json_file(str(folder / "config.json"))
    artifact.tokenizer.save_pretrained(str(folder))
    artifact.objective.write_beside(folder, facts, model)
    (folder / SCRIPT).write_text(_script(facts), encoding="utf-8")
    facts.write(folder)
    return facts


def _script(facts: ArtifactFacts) -> str:
    pooling = facts.strategy.pooling
    vector = "row[0]" if pooling is not None and pooling.kind == "cls" else _MEAN
    return _SCRIPT.format(
        length=facts.strategy.max_length,
        pair=facts.task == "pair",
        usage='"TEXT" "TEXT 2"' if facts.task == "pair" else '"TEXT" ["TEXT" ...]',
        say=_SAY.get(facts.task, _SAY["classify"]).replace("{vector}", vector),
    )


_MEAN = "(row * np.array(mask)[:, None]).sum(0)"
_SCRIPT = '''"""Runs model.onnx: pip install onnxruntime tokenizers numpy; python run.py {usage}"""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from tokenizers import Tokenizer

here = Path(__file__).parent
tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
tokenizer.enable_truncation({length})
tokenizer.enable_padding(pad_id=json.loads((here / "config.json").read_text(encoding="utf-8"))["pad_token_id"])
labels = json.loads((here / "config.json").read_text(encoding="utf-8")).get("id2label", {{}})
session = onnxruntime.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
texts = sys.argv[1:]
rows = tokenizer.encode_batch([tuple(texts[:2])] if {pair} else texts)
known = {{"input_ids": [r.ids for r in rows], "attention_mask": [r.attention_mask for r in rows],
         "token_type_ids": [r.type_ids for r in rows]}}
fed = {{one.name: np.array(known[one.name], np.int64) for one in session.get_inputs()}}
(found,) = session.run(None, fed)
for text, row, mask in zip(texts, found, known["attention_mask"]):
    {say}
'''
_SAY: Mapping[Task, str] = {
    "classify": "shares = np.exp(row - row.max()); shares /= shares.sum(); best = int(row.argmax())\n"
    '    print(labels[str(best)], round(float(shares[best]), 4), sep="\\t")',
    "multilabel": 'print(*(labels[str(i)] for i in np.flatnonzero(row > 0)), sep="\\t")',
    "regress": "print(round(float(row[0]), 4))",
    "tag": "print(*(labels[str(int(i))] for i in row.argmax(-1)[np.array(mask) > 0]))",
    "embed": "vector = {vector}\n    print(json.dumps((vector / np.linalg.norm(vector)).tolist()))",
}
