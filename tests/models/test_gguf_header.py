"""The header of a GGUF file: the same facts as llama.cpp's own reader finds, and damaged files refused."""

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_gguf import write_gguf
from trimtab.errors import ModelError
from trimtab.models import spec_of
from trimtab.models.gguf_header import BLOCKS, read_gguf_header

Q8 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, kind=Q8)
    return path


def test_blocks_are_those_of_the_format() -> None:
    theirs = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: theirs[kind] for kind in BLOCKS} == dict(BLOCKS)


def test_the_header_is_what_the_formats_own_reader_finds(file: Path) -> None:
    header, reader = read_gguf_header(file), gguf.GGUFReader(file)
    ours = [(tensor.name, tensor.type, tensor.shape, tensor.nbytes) for tensor in header.tensors]
    assert ours == [
        (tensor.name, int(tensor.tensor_type), tuple(int(n) for n in tensor.shape[::-1]), int(tensor.n_bytes))
        for tensor in reader.tensors
    ]
    assert header.values["llama.embedding_length"] == 64
    assert header.values["general.architecture"] == "llama"
    assert header.array_lengths["tokenizer.ggml.tokens"] == len(reader.fields["tokenizer.ggml.tokens"].data)


@given(at=st.integers(0, 20_000), byte=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_refused_or_read_never_worse(
    tmp_path_factory: pytest.TempPathFactory, file: Path, at: int, byte: int
) -> None:
    content = bytearray(file.read_bytes())
    content[at % len(content)] = byte
    changed = tmp_path_factory.mktemp("changed") / "tiny.gguf"
    changed.write_bytes(content)
    try:
        read_gguf_header(changed)
    except ModelError as error:
        assert error.code == "TT-M070"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(60),
        struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62),  # a key that long
        struct.pack("<4sIQQ", b"GGUF", 1, 0, 0),  # version 1
        struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"w", 1, 2**40, 0, 0),  # beyond
    ],
)
def test_forged_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "forged.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        spec_of(str(path))
    assert refused.value.code == "TT-M070"


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, file: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError) as refused:
        spec_of(str(short))
    assert refused.value.code == "TT-M070"


def test_an_architecture_that_is_not_unpacked_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError) as refused:
        spec_of(str(path))
    assert refused.value.code == "TT-M071" and "mamba" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN), "rope.scaling.type = yarn"),
        (lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32)), "rope_freqs.weight"),
        (lambda writer: writer.add_tensor("blk.0.attn_q.bias", np.ones(64, np.float32)), "blk.0.attn_q.bias"),
        (lambda writer: writer.add_uint16("split.count", 3), "split.count = 3"),
    ],
)
def test_what_would_be_lost_in_unpacking_is_refused(
    tmp_path: Path, change: Callable[[gguf.GGUFWriter], object], named: str
) -> None:
    path = tmp_path / "scaled.gguf"
    write_gguf(path, kind=Q8, change=change)
    with pytest.raises(ModelError) as refused:
        spec_of(str(path))
    assert refused.value.code == "TT-M074" and named in str(refused.value)
