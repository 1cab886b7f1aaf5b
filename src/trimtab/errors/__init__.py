"""One tree of errors, and the catalogue of every sentence a user reads.

    TrimtabError             exit 1    something failed
    ├── Busy                 exit 1    a service takes no more now, or gave a request up
    ├── UsageError           exit 2    the request itself is wrong (unknown method, bad number)
    ├── NothingFits          exit 3    no strategy meets memory, time or machine
    ├── Diverged             exit 4    loss or gradient stopped being finite
    ├── BadInput             exit 5    data, model or artifact cannot be used
    │   ├── DataError
    │   ├── ModelError
    │   └── ArtifactError
    └── Interrupted          exit 130 (Ctrl-C) or 143 (SIGTERM), after a checkpoint

An error carries a `Message`: a code (TT-…) and the facts that fill its sentence. The sentences live
beside this file in messages/*.toml, English and Chinese together, so that neither can be forgotten.
This room knows nothing of terminals or locales: whoever prints chooses the language.
"""

from trimtab.errors.message import LANGUAGES, Message, catalogue, message
from trimtab.errors.system import system_reason
from trimtab.errors.tree import (
    ArtifactError,
    BadInput,
    Busy,
    DataError,
    Diverged,
    Interrupted,
    ModelError,
    NothingFits,
    TrimtabError,
    UsageError,
)

__all__ = [
    "LANGUAGES",
    "ArtifactError",
    "BadInput",
    "Busy",
    "DataError",
    "Diverged",
    "Interrupted",
    "Message",
    "ModelError",
    "NothingFits",
    "TrimtabError",
    "UsageError",
    "catalogue",
    "message",
    "system_reason",
]
