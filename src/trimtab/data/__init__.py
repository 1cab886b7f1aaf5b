"""data: a user's files as a checked corpus with splits, and the facts of it (DataSpec).

    source ─ find_source ─► tables ─ scan ─► facts a row ─ check, repair, cut ─► Corpus ─ describe ─► DataSpec

Files are streamed, never held: a row costs 45 bytes of memory whatever its length. Left out: tags that overlap.
"""

from trimtab.data.chats import read_prompts
from trimtab.data.corpus import Corpus, Rows, Split, with_further
from trimtab.data.fingerprint import content_hash
from trimtab.data.opening import open_corpus, open_held_out, open_labelled
from trimtab.data.sample import Sample, sampled
from trimtab.data.spec import (
    TASKS,
    AnswerTokens,
    Conversation,
    DataSpec,
    Example,
    LengthHistogram,
    Place,
    Prefixes,
    Problem,
    RowTexts,
    Severity,
    Task,
    TokenCount,
    Turn,
)
from trimtab.data.storage import from_json, to_json
from trimtab.data.tag_forms import read_sentences
from trimtab.data.texts import read_single_texts, read_texts
from trimtab.data.tokens import (
    approximate_tokens,
    count_ids,
    count_tokens,
    describe,
    lost_answers_problem,
    truncation_problem,
)

__all__ = [
    "TASKS",
    "AnswerTokens",
    "Conversation",
    "Corpus",
    "DataSpec",
    "Example",
    "LengthHistogram",
    "Place",
    "Prefixes",
    "Problem",
    "RowTexts",
    "Rows",
    "Sample",
    "Severity",
    "Split",
    "Task",
    "TokenCount",
    "Turn",
    "approximate_tokens",
    "content_hash",
    "count_ids",
    "count_tokens",
    "describe",
    "from_json",
    "lost_answers_problem",
    "open_corpus",
    "open_held_out",
    "open_labelled",
    "read_prompts",
    "read_sentences",
    "read_single_texts",
    "read_texts",
    "sampled",
    "to_json",
    "truncation_problem",
    "with_further",
]
