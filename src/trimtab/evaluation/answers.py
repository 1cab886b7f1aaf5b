"""The task instruct: a chat model learns the answers of conversations, and nothing else of them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split, read_prompts
from trimtab.data.spec import Conversation, Example
from trimtab.evaluation.chat import encode_conversations, prepared
from trimtab.evaluation.encode import Encoded
from trimtab.evaluation.generate import answer, remember_stops
from trimtab.evaluation.language import LanguageModelling
from trimtab.evaluation.objective import ScoredRows
from trimtab.evaluation.prediction import Prediction
from trimtab.metrics import Findings, Sample, exact_match, rouge_l
from trimtab.models import ModelSource

_SAMPLES = 4
_SAMPLE_TOKENS = 128


class Answers(LanguageModelling):
    """What is learned are the tokens of answers, the ends of turns included. Final."""

    main = "loss"
    nothing_left = "TT-D107"

    def tokenizer(self, source: ModelSource, *, trust_remote_code: bool = False) -> Tokenizer:
        return prepared(tuning.load_tokenizer(source, trust_remote_code=trust_remote_code))

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode_conversations(examples, tokenizer, max_length)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """What the model answers to a few prompts, spread evenly over the split."""
        wanted = set(np.linspace(0, len(split) - 1, num=min(_SAMPLES, len(split)), dtype=np.int64).tolist())
        talks = [example.conversation for row, example in enumerate(split) if row in wanted]
        return Findings(samples=tuple(_sample(model, tokenizer, talk) for talk in talks if talk is not None))

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """Conversations that end with a question."""
        return (Example((), None, Conversation(turns)) for turns in read_prompts(text, file, columns))

    def predict(
        self, model: PreTrainedModel, tokenizer: Tokenizer, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        """What the model writes."""
        for example in examples:
            assert example.conversation is not None, "a chat model is asked conversations"
            written = answer(model, tokenizer, example.conversation.turns)
            yield Prediction(None, None, None, (), text=written.text, ended=written.ended)

    def before_writing(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        remember_stops(model, tokenizer)


def _sample(model: PreTrainedModel, tokenizer: Tokenizer, talk: Conversation) -> Sample:
    written = answer(model, tokenizer, talk.prompt, most_tokens=_SAMPLE_TOKENS)
    return Sample(
        prompt="\n\n".join(turn.text for turn in talk.prompt),
        expected=talk.answer,
        written=written.text,
        tokens=written.tokens,
        ended=written.ended,
        exact=exact_match(talk.answer, written.text),
        rouge_l=rouge_l(talk.answer, written.text),
    )
