"""What is asked and answered, field by field, as it stands in /openapi.json. Every field is bounded, and one
that is not here is refused: nobody sends a chat template, embeddings in the place of a prompt, or the address
of an image."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_INPUTS = 512
_MOST_WORDS = 4096
_MOST_TURNS = 512
_MOST_CHARACTERS = 1 << 17
_MOST_TOKENS = 1 << 15

Name = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
AdapterName = Annotated[str, Field(strict=True, min_length=1, max_length=64)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=_MOST_CHARACTERS)]
Count = Annotated[int, Field(strict=True, ge=1, le=_MOST_TOKENS)]
Flag = Annotated[bool, Field(strict=True)]
One = Annotated[int, Field(strict=True, ge=1, le=1)]
Nought = Annotated[float, Field(strict=True, ge=0, le=0)]
Stop = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
User = Annotated[str, Field(strict=True, max_length=256)]
Words = Annotated[list[Text], Field(min_length=1, max_length=_MOST_WORDS)]
Input = Text | Words


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClassifyBody(_Asked):
    """`input`: a text, or a list of texts; of an adapter for pairs a list of lists of two texts; of one that tags
    words a list of texts, or of lists of words."""

    model: Name
    input: Text | Annotated[list[Input], Field(min_length=1, max_length=MOST_INPUTS)]
    user: User | None = None

    @property
    def inputs(self) -> list[str | list[str]]:
        return [self.input] if isinstance(self.input, str) else list(self.input)


class EmbedBody(_Asked):
    """`encoding_format` "base64": of each vector the bytes of little-endian fp32. `input_type`: whose prefix
    stands before the texts, that of queries or that of what they are to find."""

    model: Name
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    input_type: Literal["query", "passage", "document"] = "query"
    user: User | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else list(self.input)


class StreamOptions(_Asked):
    include_usage: Flag = False


class _Writing(_Asked):
    """What a conversation and a text that goes on have in common. `n`, `frequency_penalty` and `presence_penalty`
    may be sent, as many clients do, with the one value that there is."""

    model: Name
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(strict=True, ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: Flag = False
    stream_options: StreamOptions | None = None
    n: One = 1
    frequency_penalty: Nought = 0.0
    presence_penalty: Nought = 0.0
    user: User | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def counts_at_end(self) -> bool:
        """Whether a stream ends with a count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class TextPart(_Asked):
    type: Literal["text"]
    text: Text


class ChatTurn(_Asked):
    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=64)]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatBody(_Writing):
    messages: Annotated[list[ChatTurn], Field(min_length=1, max_length=_MOST_TURNS)]
    max_completion_tokens: Count | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatBody":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are the same; send one of them")
        return self

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionBody(_Writing):
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class LetInBody(_Asked):
    """`folder`: a folder of the folder of adapters, None = the one called as the adapter shall be. `load`: now,
    and not when it is first asked."""

    name: AdapterName
    folder: AdapterName | None = None
    load: Flag = True
    pinned: Flag = False


class PinBody(_Asked):
    pinned: Flag = True


class LabelShare(BaseModel):
    label: str
    probability: float


class FoundEntity(BaseModel):
    """`start` and `end` (exclusive) are characters of the text."""

    type: str
    text: str
    start: int
    end: int
    probability: float


class Classified(BaseModel):
    """One input's answer; what the task does not have is left out. `scores`: of all labels, the likeliest first;
    `labels`: of several those that are more likely than not; `value`: of a regression."""

    index: int
    label: str | None = None
    probability: float | None = None
    scores: list[LabelShare] | None = None
    labels: list[LabelShare] | None = None
    value: float | None = None
    entities: list[FoundEntity] | None = None


class ClassifyAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    task: str
    data: list[Classified]


class Vector(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class ReadUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbedAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[Vector]
    usage: ReadUsage


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Said(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    index: int = 0
    message: Said
    finish_reason: str
    logprobs: None = None


class ChatAnswer(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(BaseModel):
    index: int = 0
    text: str
    finish_reason: str
    logprobs: None = None


class CompletionAnswer(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class ModelCard(BaseModel):
    """The base, or an adapter on it: `root` is the base, and so is an adapter's `parent`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["trimtab"] = "trimtab"
    root: str
    parent: str | None = None
    task: str | None = None
    labels: list[str] | None = None
    columns: list[str] | None = None


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class AdapterCard(BaseModel):
    """An adapter as those who run the server see it."""

    name: str
    task: str
    method: str
    labels: list[str]
    columns: list[str]
    file_bytes: int
    state: str
    pinned: bool
    own_bytes: int
    in_flight: int


class AdapterList(BaseModel):
    """`folder`: what lies in the folder of adapters, whether it is registered or not."""

    data: list[AdapterCard]
    folder: list[str]


class Health(BaseModel):
    status: str


class ErrorFacts(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    error: ErrorFacts
