"""English left over in a Chinese sentence, but for the names that belong there."""

import re

from trimtab.errors import Message

_NAMES = ("Trimtab", "sha256", "JSON", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TT-")


def english_in(said: Message, *names: str) -> list[str]:
    """Words of two and more Latin letters in the Chinese sentence and its next step, `names` left out."""
    text = f"{said.text('zh')} {said.next_step('zh')}"
    for name in sorted((*names, *_NAMES), key=len, reverse=True):
        text = text.replace(name, "")
    return re.findall("[A-Za-z]{2,}", re.sub("`[^`]*`|--[a-z-]+", "", text))
