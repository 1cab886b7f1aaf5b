"""Chat templates above the torch line: the text is transformers' own, and exactly the answers are marked in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from trimtab.data import Conversation, Turn, approximate_tokens, count_tokens, lost_answers_problem, open_corpus
from trimtab.data.chat_template import DEFAULT_TEMPLATE, ChatTemplate, learned, marked, template_of, turn_end
from trimtab.errors import ModelError

EOS = (("eos_token", "</s>"),)
LONG = Conversation(
    (
        Turn("system", "Be brief."),
        Turn("user", "One?"),
        Turn("assistant", "1"),
        Turn("user", "Two?"),
        Turn("assistant", "It is 2.\n"),
    )
)
# Templates of other families, in short; each with the special tokens of its tokenizer.
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|end|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ '<<SYS>>' + m['content'] + '<</SYS>>' }}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
REASONING = (  # asks with the beginning of a thought, and writes no thoughts of earlier turns
    "{% for m in messages %}{{ '<u>' if m['role'] != 'assistant' else '<a>' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>' }}{% endif %}"
    "{{ m['content'] + '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<a><think>\nso' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
GENERATION = (
    "{%- for m in messages %}{{ '<' + m['role'] + '>' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}</s>{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def answers(source: str, special: Sequence[str], talk: Conversation = LONG) -> list[str]:
    template = ChatTemplate(source, (*EOS, ("bos_token", "<s>")))
    end = turn_end(template.render, special, template.end_of_text)
    found = marked(talk, template.render, end)
    return [found.text[start:stop] for start, stop in found.answers]


@pytest.mark.parametrize(
    ("source", "special", "expected"),
    [
        (DEFAULT_TEMPLATE, ["</s>"], ["1</s>", "It is 2.\n</s>"]),
        (LLAMA3, ["<|start|>", "<|end|>", "<|eot|>", "</s>"], ["1<|eot|>", "It is 2.<|eot|>"]),
        (LLAMA2, ["</s>"], [" 1 </s>", " It is 2. </s>"]),
        (REASONING, ["</s>", "<think>"], ["1</s>", "\n</think>It is 2.\n</s>"]),
        (GENERATION, ["</s>"], ["1</s>", "It is 2.\n</s>"]),
        (PLAIN, ["</s>"], ["1\n", "It is 2.\n\n</s>"]),  # no end of a turn of its own: the end of text, at the end
    ],
)
def test_answers_are_marked_with_the_end_of_their_turn(
    source: str, special: list[str], expected: list[str]
) -> None:
    assert answers(source, special) == expected


def test_a_template_that_refuses_or_breaks_is_told_and_code_in_it_does_not_run() -> None:
    for source in (
        "{{ raise_exception('only two turns') }}",
        "{{ messages[0]['content'].nothing() }}",
        "{% for m in messages %}",
        "{{ ''.__class__.__mro__ }}",
    ):
        with pytest.raises(ModelError, match="TT-M040"):
            ChatTemplate(source).render(LONG.turns)
    with pytest.raises(ModelError, match="TT-M041"):
        turn_end(ChatTemplate(PLAIN).render, (), "")


def test_a_token_of_white_space_is_learned_inside_an_answer_and_not_before_it() -> None:
    # "assistant\n" "Yes" "\n" "no" "</s>" "\n": tokenizers give white space the place where it ends
    ends = np.array([9, 10, 13, 14, 16, 20, 21])
    starts = np.array([0, 10, 10, 14, 14, 16, 21])
    assert learned(starts, ends, [(10, 20)]).tolist() == [False, False, True, True, True, True, False]


@pytest.mark.parametrize("name", ["alpaca_en", "alpaca_zh", "gsm8k"])
def test_smollm2_writes_and_counts_as_transformers_does(
    shared: Callable[[str], str], real_model: Callable[[str], Path], name: str
) -> None:
    from transformers import AutoTokenizer

    folder = real_model("smollm2-135m-instruct")
    dev = open_corpus(shared(name)).dev
    theirs, template = AutoTokenizer.from_pretrained(folder), template_of(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = turn_end(
        template.render, [t.content for t in theirs.added_tokens_decoder.values()], template.end_of_text
    )
    assert end.token == "<|im_end|>" and not end.added
    lengths = []
    for example in dev:
        talk = example.conversation
        assert talk is not None
        found = marked(talk, template.render, end)
        messages = [{"role": turn.role, "content": turn.text} for turn in talk.turns]
        assert found.text == theirs.apply_chat_template(messages, tokenize=False)
        ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        encoded = tokenizer.encode(found.text, add_special_tokens=False)
        assert encoded.ids == ids
        mask = learned(*np.array(encoded.offsets).T, found.answers)
        assert (
            tokenizer.decode(np.array(ids)[mask].tolist(), skip_special_tokens=False) == f"{talk.answer}<|im_end|>"
        )
        lengths.append(len(ids))
    counted = count_tokens(dev, folder / "tokenizer.json")
    assert counted.lengths.examples == len(lengths) and counted.lengths.longest == max(lengths)
    assert counted.lengths.tokens(10**6) == sum(lengths)


def test_learned_tokens_of_a_split_are_counted_and_lost_answers_found(
    shared: Callable[[str], str], real_model: Callable[[str], Path]
) -> None:
    corpus = open_corpus(shared("alpaca_en"))
    counted = count_tokens(corpus.train, real_model("smollm2-135m-instruct") / "tokenizer.json")
    learns = counted.answers
    assert learns is not None
    share = learns.tokens / counted.lengths.tokens(10**6)
    assert 0.4 < share < 0.8  # the system turn and the question are the rest
    lost = learns.lost(64)
    assert 0 < lost < len(corpus.train) and learns.lost(counted.lengths.longest) == 0
    told = lost_answers_problem(learns, 64)
    assert told is not None and told.count == lost
    kept = learns.kept(counted.lengths, 96)
    assert 0 < kept < learns.tokens


def test_lengths_by_rule_are_near_the_counted_ones(
    shared: Callable[[str], str], real_model: Callable[[str], Path]
) -> None:
    corpus = open_corpus(shared("alpaca_en"))
    counted = count_tokens(corpus.train, real_model("smollm2-135m-instruct") / "tokenizer.json").lengths
    ruled = approximate_tokens(corpus.train)
    assert ruled.answers is not None
    # 3.1 % more than counted: four letters a token are few for plain English, and the system turn of 22 tokens
    # that SmolLM2 puts before every conversation is in no rule.
    assert abs(ruled.lengths.mean(10**6) / counted.mean(10**6) - 1) < 0.05
