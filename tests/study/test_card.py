"""The model card: front matter that a YAML parser reads back unchanged, Markdown that shows names as they
are."""

from dataclasses import replace

import pytest
from report_cases import report

from trimtab.methods import Biases, Bottleneck, Head, Lora, Part
from trimtab.study.card import markdown_text, model_card, yaml_text

yaml = pytest.importorskip("yaml", reason="PyYAML comes with huggingface_hub")

HOSTILE = [
    "a: b",
    '"',
    "\\",
    "- x\n- y",
    "é 北京 🙂",
    "\x00\x7f\x85\u2028",
    "---",
    "#c",
    "{{x}}",
    "'",
    "on",
    "1e3",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_yaml_gives_every_text_back(text: str) -> None:
    assert yaml.safe_load(f"key: {yaml_text(text)}") == {"key": text}
    assert "\n" not in yaml_text(text)


def test_half_a_character_is_replaced() -> None:
    assert yaml.safe_load(yaml_text("a\ud800b")) == "a\ufffdb"


def front_matter(card: str) -> dict[str, object]:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_front_matter_of_an_adapter() -> None:
    front = front_matter(model_card(report(), library_name="peft"))
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front["library_name"] == "peft"
    assert front["metrics"] == ["accuracy", "macro_f1"]
    assert front["tags"] == ["trimtab", "lora", "classify"]
    assert "language" not in front and "license" not in front


@pytest.mark.parametrize(("part", "told"), [(Lora(), False), (Bottleneck(), True), (Biases(), True)])
def test_a_reader_is_told_what_plain_peft_needs(part: Part, told: bool) -> None:
    made = report()
    estimate = made.plan.chosen.estimate
    strategy = replace(estimate.strategy, parts=(part, Head()))
    chosen = replace(made.plan.chosen, estimate=replace(estimate, strategy=strategy))
    plan = replace(made.plan, candidates=(chosen, *made.plan.candidates[1:]))
    card = model_card(replace(made, plan=plan), library_name="peft")
    assert ("after `import trimtab.tuning`" in card) is told


def test_a_hostile_data_name_stays_a_name() -> None:
    name = 'x"\ntags: [stolen]\n---\n# heading'
    card = model_card(report(data=name))
    assert front_matter(card)["datasets"] == [name]
    assert "\n# heading" not in card


def test_the_facts_in_short() -> None:
    card = model_card(report())
    assert "| test | accuracy | 0.916 | 0.886 – 0.941 | 500 |" in card
    assert "| Memory | 1.1 GiB | 1.2 GiB | -4.96 % |" in card
    assert "trimtab train all-MiniLM-L6-v2" in card
    assert "battery, delivery" in card


def test_how_the_base_of_an_adapter_is_stored_is_told() -> None:
    plain = report()
    chosen = plain.plan.chosen
    strategy = replace(chosen.estimate.strategy, base_precision="nf4")
    packed = replace(chosen, estimate=replace(chosen.estimate, strategy=strategy))
    made = replace(plain, plan=replace(plain.plan, candidates=(packed, *plain.plan.candidates[1:])))
    assert "stored in nf4" in model_card(made, library_name="peft")
    assert "nf4" not in model_card(plain, library_name="peft")
    assert "nf4" not in model_card(made), "a whole model is written unpacked"


def test_a_command_with_backticks_stays_in_its_block() -> None:
    card = model_card(report(command="trimtab train m --data '```'"))
    assert card.endswith("````sh\ntrimtab train m --data '```'\n````\n")


def test_markdown_marks_are_escaped() -> None:
    assert markdown_text("a|b\n*c* <d> [e](f)") == r"a\|b \*c\* \<d\> \[e\](f)"


def test_both_languages() -> None:
    assert "## 评估结果" in model_card(report(), language="zh")
