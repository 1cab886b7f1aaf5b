"""Service: one base in memory, adapters on it by name, and requests for any of them from any thread.

Leaves out HTTP (`serving.http`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from trimtab.artifacts import ArtifactFacts, read_facts, require_name
from trimtab.data.spec import Example
from trimtab.errors import UsageError
from trimtab.evaluation import AdapterSet
from trimtab.serving.facts import Limits, Piece, Prediction, ServedAdapter, ServiceFacts, WriteRequest


class Service:
    """`base` is what MODEL is on the command line. Close it; or use it in a `with` block.

    >>> with Service("minilm") as service:                             # doctest: +SKIP
    ...     service.register("law", Path("runs/law"))
    ...     service.ask("law", [Example(("合同纠纷",), None)]).result()[0].label
    """

    def __init__(self, base: str, limits: Limits | None = None, *, trust_remote_code: bool = False) -> None:
        self._limits = limits or Limits()
        self._base = base
        self._set = AdapterSet(base, trust_remote_code=trust_remote_code)
        self._folders: dict[str, Path] = {}
        self._facts: dict[str, ArtifactFacts] = {}
        self._pinned: set[str] = set()
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1)
        self._requests = self._rows = 0

    def register(self, name: str, folder: Path) -> ServedAdapter:
        """Let the artifact in `folder` answer to `name`; it is loaded when it is first asked. Raises UsageError
        TT-U101, TT-U102, and what `read_facts` raises."""
        facts = read_facts(folder)
        with self._lock:
            if require_name(name) in self._facts:
                raise UsageError("TT-U102", name=name, loaded=", ".join(self._facts))
            self._folders[name], self._facts[name] = folder, facts
        return self.adapter(name)

    def load(self, name: str) -> ServedAdapter:
        """Have an adapter in memory now. Raises UsageError TT-U103, and what `AdapterSet.load` raises."""
        self.adapter(name)
        self._worker.submit(self._loaded, name).result()
        return self.adapter(name)

    def unload(self, name: str) -> ServedAdapter:
        """Let its memory go; it stays registered, and what is in flight ends first."""
        self._worker.submit(self._let_go, name).result()
        return self.adapter(name)

    def forget(self, name: str) -> None:
        """Unload an adapter and let it answer no more."""
        self.unload(name)
        with self._lock:
            del self._facts[name], self._folders[name]
            self._pinned.discard(name)

    def pin(self, name: str, pinned: bool = True) -> ServedAdapter:
        """Whether an adapter is never evicted."""
        self.adapter(name)
        (self._pinned.add if pinned else self._pinned.discard)(name)
        return self.adapter(name)

    def adapter(self, name: str) -> ServedAdapter:
        """Raises UsageError TT-U103 where none is called so."""
        if name not in self._facts:
            raise UsageError("TT-U103", name=name[:80], loaded=", ".join(self._facts) or "-")
        facts, loaded = self._facts[name], name in self._set.names
        return ServedAdapter(
            name=name, task=facts.task, method=facts.strategy.method, labels=facts.labels, columns=facts.columns,
            file_bytes=sum(size for _, size, _ in facts.files), state="loaded" if loaded else "registered",
            pinned=name in self._pinned, own_bytes=self._set.own_bytes(name) if loaded else 0, in_flight=0,
        )  # fmt: skip

    @property
    def adapters(self) -> tuple[ServedAdapter, ...]:
        """All that are registered, in the order of their registration."""
        return tuple(self.adapter(name) for name in tuple(self._facts))

    def ask(
        self, name: str, examples: Sequence[Example], *, deadline_seconds: float | None = None
    ) -> "Future[list[Prediction]]":
        """One Prediction an example, in order. Cancelling the future gives the request up. Raises UsageError
        TT-U103 at once; the future raises what `Artifact.predict` raises."""
        self.adapter(name)
        return self._worker.submit(self._answered, name, tuple(examples))

    def write(self, name: str, request: WriteRequest, *, deadline_seconds: float | None = None) -> Iterator[Piece]:
        """Pieces of an answer as they are written, the last one with its `finish`; closing the iterator gives the
        request up. `name`: an adapter, or the base's own name where it is a chat model."""
        raise NotImplementedError

    @property
    def facts(self) -> ServiceFacts:
        own = sum(one.own_bytes for one in self.adapters)
        return ServiceFacts(
            base=self._base, requests=self._requests, rows=self._rows, passes=self._requests, tokens=0, queued=0,
            refused=0, expired=0, loads=0, evictions=0, base_bytes=0, adapter_bytes=own,
        )  # fmt: skip

    def close(self, *, drain_seconds: float = 10.0) -> None:
        """Take no more, answer what is in flight for so long, then stop."""
        self._worker.shutdown(wait=True)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _loaded(self, name: str) -> None:
        if name not in self._set.names:
            self._set.load(name, self._folders[name])

    def _let_go(self, name: str) -> None:
        if name in self._set.names:
            self._set.unload(name)

    def _answered(self, name: str, examples: tuple[Example, ...]) -> list[Prediction]:
        self._loaded(name)
        self._requests, self._rows = self._requests + 1, self._rows + len(examples)
        return list(self._set.artifact(name).predict(examples))
