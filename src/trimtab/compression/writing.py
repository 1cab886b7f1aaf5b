"""A teacher writes its answers to the prompts of a training, once, into a file beside the run.

    answers-<key>.jsonl         a line a prompt, in their order: {"row", "text", "tokens", "ended"}
    answers-<key>.jsonl.part    batch by batch, longest prompts first: an interrupted writing goes on from it

The key is of the teacher, the prompts, the lengths and how they are batched: what was written for others is never
taken, and an interrupted writing ends in the same bytes. The finished file is there whole or not at all. Each
token is the likeliest one; leaves out sampling.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from trimtab.compression.teacher import teacher_hash
from trimtab.compression.written import Prompts
from trimtab.data.spec import WRITING_TOKENS, Turn
from trimtab.evaluation import Artifact
from trimtab.evaluation.chat import prompt_ids
from trimtab.evaluation.generate import Answer, answer_of, stop_tokens, written_ids
from trimtab.training.events import Event
from trimtab.training.files import sync_file, sync_folder

_FORM = 1  # of the lines


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswersWritten(Event):
    """The teacher has answered `rows` of all `total` prompts; at once where they were kept from before.
    `tokens`, `seconds`: of this run."""

    rows: int
    total: int
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerLengths:
    """How many of the teacher's tokens an answer may have, `most` of its own and `whole` with its prompt; and how
    many, of prompts and answers, are written `at_once`. A step makes one token of each row, and most of its time
    goes into reading the weights, however many rows there are."""

    most: int
    whole: int
    at_once: int = WRITING_TOKENS

    def room(self, prompts: np.ndarray) -> np.ndarray:
        """Tokens left for the answer to each of `prompts`, lengths int64; 0 where there is no room."""
        return np.clip(self.whole - prompts, 0, self.most)

    def rows(self, prompt: int) -> int:
        """How many prompts, of `prompt` tokens at most, are answered at once."""
        return max(1, self.at_once // max(1, min(prompt + self.most, self.whole)))


def answers_file(teacher: Artifact, lengths: AnswerLengths, fingerprint: str, folder: Path) -> Path:
    """Where the answers of `teacher` lie or will lie. `fingerprint`: of the prompts."""
    plain = [_FORM, teacher_hash(teacher), fingerprint, *astuple(lengths)]
    return folder / f"answers-{hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]}.jsonl"


def write_answers(
    teacher: Artifact, prompts: Prompts, lengths: AnswerLengths, file: Path
) -> Iterator[AnswersWritten]:
    """Have `teacher`, where it is, answer every prompt, where that has not been done. Prompts without room for an
    answer are not asked: theirs has not ended. Raises DataError where a prompt cannot be read, OSError; what was
    written stays, to go on from."""
    start = time.perf_counter()
    if file.is_file():
        total = sum(1 for _ in prompts)
        yield AnswersWritten(rows=total, total=total, tokens=0, seconds=0.0)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    asked = _tokenised(teacher, prompts)
    batches = _batches(asked, lengths)
    done = _whole_batches(part, batches)
    rows, total, tokens = sum(map(len, batches[:done])), len(asked), 0
    with part.open("ab") as lines:
        for batch in batches[done:]:
            answers = _answers(teacher, [asked[row] for row in batch], lengths)
            lines.write(b"".join(_line(int(row), answer) for row, answer in zip(batch, answers, strict=True)))
            lines.flush()
            os.fsync(lines.fileno())
            rows, tokens = rows + len(batch), tokens + sum(answer.tokens for answer in answers)
            yield AnswersWritten(rows=rows, total=total, tokens=tokens, seconds=time.perf_counter() - start)
    _finish(part, file, total)


def _tokenised(teacher: Artifact, prompts: Iterable[Sequence[Turn]]) -> list[np.ndarray]:
    """Each int32: 4 bytes a token are held."""
    return [np.array(prompt_ids(teacher.tokenizer, turns), np.int32) for turns in prompts]


def _batches(asked: Sequence[np.ndarray], lengths: AnswerLengths) -> list[np.ndarray]:
    """Rows that are answered at once: by falling length, so that memory peaks in the first; those without room for
    an answer come last."""
    prompts = np.array([len(one) for one in asked], np.int64)
    order = np.argsort(-prompts, kind="stable")
    has_room = lengths.room(prompts)[order] > 0
    found, start, answered = [], 0, order[has_room]
    while start < len(answered):
        rows = lengths.rows(int(prompts[answered[start]]))
        found.append(answered[start : start + rows])
        start += rows
    return found if has_room.all() else [*found, order[~has_room]]


def _answers(teacher: Artifact, prompts: Sequence[np.ndarray], lengths: AnswerLengths) -> list[Answer]:
    """Each cut at its own room, whatever the others of its batch may have."""
    rooms = lengths.room(np.array([len(one) for one in prompts], np.int64)).tolist()
    if not max(rooms):
        return [Answer(text="", tokens=0, ended=False)] * len(prompts)
    tokenizer = teacher.tokenizer
    ends = stop_tokens(tokenizer)
    asked = [one.tolist() for one in prompts]
    written = written_ids(teacher.model, asked, ends, int(tokenizer.pad_token_id), max(rooms))
    return [answer_of(tokenizer, ids[:room], ends) for ids, room in zip(written, rooms, strict=True)]


def _line(row: int, answer: Answer) -> bytes:
    plain = {"row": row, "text": answer.text.strip(), "tokens": answer.tokens, "ended": answer.ended}
    return json.dumps(plain, ensure_ascii=False).encode() + b"\n"


def _whole_batches(part: Path, batches: Sequence[np.ndarray]) -> int:
    """How many batches an interrupted writing left; what stands behind the last whole one is cut off."""
    if not part.is_file():
        return 0
    done = kept = 0
    with part.open("rb") as lines:
        for batch in batches:
            found = [lines.readline() for _ in batch]
            if [_row_of(line) for line in found] != batch.tolist():
                break
            done, kept = done + 1, kept + sum(map(len, found))
    os.truncate(part, kept)
    return done


def _row_of(line: bytes) -> int | None:
    """None for a line that was not written to its end."""
    try:
        return int(json.loads(line)["row"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None


def _finish(part: Path, file: Path, total: int) -> None:
    """The lines of `part` in the order of the rows, in `file`."""
    starts = np.zeros(total, np.int64)
    at, beside = 0, file.with_name(f".{file.name}.{os.getpid()}")
    with part.open("rb") as lines:
        for line in lines:
            starts[json.loads(line)["row"]] = at
            at += len(line)
    try:
        with part.open("rb") as lines, beside.open("wb") as whole:
            for start in starts.tolist():
                lines.seek(start)
                whole.write(lines.readline())
        sync_file(beside)
        beside.replace(file)
        sync_folder(file.parent)
    finally:
        beside.unlink(missing_ok=True)
    part.unlink(missing_ok=True)
