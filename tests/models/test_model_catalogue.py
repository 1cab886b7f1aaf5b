"""The catalogue: every count equals that of the transformers class built from the same shape."""

import time

import pytest
from meta_models import published_count

from trimtab.errors import ModelError
from trimtab.models import ModelSpec, catalogue, shape_named
from trimtab.models.catalogue import entries

# No class of transformers 5.23 has this shape: GPT-2-like layers with rotary positions and a tied head.
WITHOUT_CLASS = {"chatglm-6b": "the first ChatGLM is only published as code in its repository"}


@pytest.mark.parametrize("spec", catalogue(), ids=lambda spec: spec.name)
def test_count_equals_the_transformers_class(spec: ModelSpec) -> None:
    if spec.name in WITHOUT_CLASS:
        pytest.skip(WITHOUT_CLASS[spec.name])
    assert spec.parameters == published_count(spec)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.spec.name)
def test_count_equals_the_published_one(entry) -> None:
    """0.2 %: some publishers round (bge-small-zh "24 M", PowerLM "3.51 B"); most agree to the parameter."""
    assert entry.spec.parameters == pytest.approx(entry.published_parameters, rel=0.002)


def test_most_published_counts_are_met_to_the_parameter() -> None:
    exact = [entry for entry in entries() if entry.spec.parameters == entry.published_parameters]
    assert len(entries()) == 105
    assert len(exact) == 102  # the other three are published rounded


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bert-base-chinese", "bert-base-chinese"),
        ("google-bert/BERT-base-chinese", "bert-base-chinese"),
        ("qwen/qwen2.5-7b", "qwen2.5-7b"),
        ("all-MiniLM-L6-v2", "minilm-l6-h384"),
        ("llama-7b", "llama-2-7b"),
    ],
)
def test_a_model_is_found_by_key_hub_id_and_alias_in_any_case(name: str, key: str) -> None:
    assert shape_named(name).name == key


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(ModelError) as raised:
        shape_named("bert-base-chinesse")
    assert raised.value.code == "TT-M001"
    assert str(raised.value.message.fact("suggestions")).startswith("bert-base-chinese")
    assert raised.value.exit_code == 5


def test_names_lead_to_one_model_only() -> None:
    names = [name.lower() for entry in entries() for name in dict.fromkeys(map(str.lower, entry.names))]
    assert len(names) == len(set(names))


def test_every_shape_says_where_it_was_read() -> None:
    assert all(spec.source.startswith("catalogue (") and len(spec.source) > 20 for spec in catalogue())


def test_the_catalogue_loads_in_a_moment() -> None:
    entries.cache_clear()
    start = time.process_time()
    entries()
    assert time.process_time() - start < 0.2
