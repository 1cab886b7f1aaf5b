"""/v1/embeddings: vectors of texts, as OpenAI's clients ask for them."""

import base64
import struct
from collections.abc import Callable, Mapping

from starlette.requests import Request

from trimtab.data.spec import Example
from trimtab.serving.http.bodies import EmbedAnswer, EmbedBody, ReadUsage, Vector
from trimtab.serving.http.desk import Desk, Door, require_task

PATH = "/v1/embeddings"


def doors(desk: Desk) -> tuple[Door, ...]:
    async def embed(body: EmbedBody, request: Request) -> EmbedAnswer:
        """A vector of length 1 of each text."""
        adapter = require_task(desk.adapter(body.model, request), PATH)
        examples = [Example((text,), None) for text in body.inputs]
        found = await desk.answers(adapter.name, examples, request, passages=body.input_type != "query")
        written = _WRITTEN[body.encoding_format]
        vectors = [written(one.vector or ()) for one in found.predictions]
        return EmbedAnswer(
            model=adapter.name,
            data=[Vector(index=index, embedding=vector) for index, vector in enumerate(vectors)],
            usage=ReadUsage(prompt_tokens=found.tokens, total_tokens=found.tokens),
        )

    return (Door("POST", PATH, embed, EmbedAnswer),)


def _base64(vector: tuple[float, ...]) -> str:
    """Bytes of little-endian fp32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


_WRITTEN: Mapping[str, Callable[[tuple[float, ...]], list[float] | str]] = {"float": list, "base64": _base64}
