"""Roster: which artifacts answer to which names, and which of them are in memory.

What is registered was held to the base, by names, shapes, values and hashes, and takes no memory; it is loaded
when it is first asked, once, by one thread. Beyond the budget those go that were unused longest, never one that is
pinned or asked. Knows nothing of requests but how many each adapter has.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Condition
from time import monotonic

from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.artifacts import ArtifactFacts, read_facts, require_name
from trimtab.errors import ArtifactError, Busy, UsageError
from trimtab.evaluation import OBJECTIVES, AdapterSet, Artifact, open_artifact
from trimtab.evaluation.adapter_set import is_head_alone
from trimtab.evaluation.objective import OnePass
from trimtab.methods import Precision, VirtualTokens
from trimtab.serving.facts import Limits, ServedAdapter
from trimtab.serving.forks import BASE, Forked, roads_of
from trimtab.serving.lanes import Lane
from trimtab.serving.openings import opening
from trimtab.serving.scribe import Scribe

_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Loaded:
    """An adapter in memory: where its rows run, and under which name, that of no other load; what makes rows of
    texts, and answers of outputs."""

    runs_in: Lane | Scribe
    row_name: str
    facts: ArtifactFacts
    tokenizer: Tokenizer
    own_bytes: int


@dataclass(slots=True, eq=False)
class Entry:
    """A name; the base itself has no folder. `load` is under way, or done, where it is not None."""

    name: str
    folder: Path | None
    facts: ArtifactFacts
    plugged: bool
    pinned: bool = False
    in_flight: int = 0
    used: float = 0.0
    load: "Future[Loaded] | None" = None

    @property
    def loaded(self) -> Loaded | None:
        load = self.load  # another thread may change it
        if load is None or not load.done() or load.cancelled() or load.exception() is not None:
            return None
        return load.result()

    @property
    def facts_now(self) -> ServedAdapter:
        facts, load, loaded = self.facts, self.load, self.loaded
        return ServedAdapter(
            name=self.name,
            task=facts.task,
            method=facts.strategy.method,
            labels=facts.labels,
            columns=facts.columns,
            file_bytes=sum(size for _, size, _ in facts.files),
            state="loaded" if loaded else "loading" if load is not None else "registered",
            pinned=self.pinned,
            own_bytes=loaded.own_bytes if loaded else 0,
            in_flight=self.in_flight,
        )


class Roster:
    """`changed` is notified whenever an adapter came or went. `base`: what MODEL is on the command line;
    `precision`: what all compute in, None = what they were trained in."""

    def __init__(
        self,
        base: str,
        limits: Limits,
        changed: Condition,
        *,
        precision: Precision | None,
        trust_remote_code: bool,
    ) -> None:
        self._adapters = AdapterSet(base, precision=precision, blocked=True, trust_remote_code=trust_remote_code)
        self._limits = limits
        self._trusted = trust_remote_code
        self._changed = changed
        self._entries: dict[str, Entry] = {}
        self._lanes: dict[object, Lane] = {}
        self._scribes: dict[int, Scribe] = {}
        self._base: Entry | None = None
        self._loader = ThreadPoolExecutor(1, "load")
        self._serial = count()
        self._leaving: list[Entry] = []
        self._closed = False
        self.loads = self.evictions = self._written_before = self._expired_before = 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """In the order of their registration."""
        with self._changed:
            return tuple(self._entries.values())

    @property
    def own_bytes(self) -> int:
        """Memory of all that is loaded, but the base."""
        loaded = [entry.loaded for entry in (*self.entries, *self._leaving)]
        return sum(one.own_bytes for one in loaded if one is not None)

    @property
    def base_bytes(self) -> int:
        """Memory of the base's weights; 0 before the first adapter was loaded."""
        return self._adapters.base_bytes

    def register(self, name: str, folder: Path) -> Entry:
        """Raises as `AdapterSet.load`; ArtifactError TT-N050 where it alone is beyond the budget, TT-A006 where a
        whole model has numbers that are not finite."""
        require_name(name)
        facts = self._loader.submit(self._checked, folder).result()
        entry = Entry(name=name, folder=folder, facts=facts, plugged=_is_plugged(facts))
        if not is_head_alone(facts) and _weight_bytes(facts) > self._limits.adapter_bytes:
            raise _too_large(entry, _weight_bytes(facts), self._limits)
        with self._changed:
            if name in self._entries:
                raise UsageError("TT-U102", name=name, loaded=", ".join(self._entries))
            self._entries[name] = entry
        return entry

    def entry(self, name: str) -> Entry:
        """Raises UsageError TT-U103 with the names there are."""
        with self._changed:
            if name not in self._entries:
                raise UsageError("TT-U103", name=name[:80], loaded=", ".join(self._entries) or "-")
            return self._entries[name]

    def base(self) -> Entry:
        """The base itself, as what writes. Raises ArtifactError TT-A043 where it is no language model."""
        if self._base is None:  # asked of the loader without the lock, which it may be waiting for
            facts = self._loader.submit(self._adapters.own).result().facts
            with self._changed:
                self._base = self._base or Entry(name=facts.base.name, folder=None, facts=facts, plugged=False)
        return self._base

    @property
    def scribes(self) -> tuple[Scribe, ...]:
        """All that write."""
        with self._changed:
            loaded = [entry.loaded for entry in (*self._entries.values(), *filter(None, (self._base,)))]
        found = [one.runs_in for one in loaded if one is not None and isinstance(one.runs_in, Scribe)]
        return tuple(dict.fromkeys((*self._scribes.values(), *found)))

    @property
    def written_tokens(self) -> int:
        return self._written_before + sum(scribe.written_tokens for scribe in self.scribes)

    @property
    def expired(self) -> int:
        """Answers that were given up at their deadline."""
        return self._expired_before + sum(scribe.expired for scribe in self.scribes)

    @property
    def cache_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(scribe.cache_bytes for scribe in self.scribes)

    def wanted(self, entry: Entry) -> "Future[Loaded]":
        """The loading of an adapter, begun where it was not. One that failed is tried again."""
        with self._changed:
            if self._closed:
                raise Busy("TT-N003")
            load = entry.load
            if load is None or (load.done() and entry.loaded is None):
                load = entry.load = self._loader.submit(self._load, entry)
            return load

    @contextmanager
    def holding(self, entry: Entry) -> Iterator[None]:
        """Within, it is not evicted."""
        self.count(entry, 1)
        try:
            yield
        finally:
            self.count(entry, -1)

    def count(self, entry: Entry, requests: int) -> None:
        """So many more requests are in flight, or fewer. With the last one a forgotten adapter goes."""
        with self._changed:
            entry.in_flight += requests
            entry.used = monotonic()
            self._changed.notify_all()
            if entry in self._leaving and not entry.in_flight and not self._closed:
                self._loader.submit(self._let_go, entry)

    def unload(self, entry: Entry, *, forget: bool = False) -> None:
        """Let its memory go, once nothing of it is in flight; with `forget` it answers no more. Raises Busy
        TT-N002 where that takes longer than a request may."""
        seconds, gone = self._limits.deadline_seconds, False
        if forget:
            with self._changed:
                self._entries.pop(entry.name, None)
                self._leaving.append(entry)
        given_up = monotonic() + seconds
        while not gone:
            with self._changed:
                if not self._changed.wait_for(lambda: entry.in_flight == 0, given_up - monotonic()):
                    raise Busy("TT-N002", seconds=seconds)
            gone = self._loader.submit(self._let_go, entry).result()

    def close(self, drain_seconds: float) -> None:
        """Load no more, and end what is being written within so long."""
        given_up = monotonic() + drain_seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._loader.shutdown(wait=True, cancel_futures=True)  # a load may be waiting for a scribe's next step
        for scribe in self.scribes:
            scribe.close(max(0.0, given_up - monotonic()))

    # ------------------------------------------------------------------ in the loader's thread

    def _checked(self, folder: Path) -> ArtifactFacts:
        facts = read_facts(folder)
        if _is_plugged(facts):
            return self._adapters.check(folder)
        tuning.require_finite_model(folder)
        return facts

    def _load(self, entry: Entry) -> Loaded:
        loaded = (self._plugged if entry.plugged else self._whole)(entry)
        try:
            self._make_room(entry, loaded.own_bytes)
        except BaseException:
            self._taken_out(loaded)
            raise
        with self._changed:
            self.loads += 1
            self._changed.notify_all()
        return loaded

    def _plugged(self, entry: Entry) -> Loaded:
        """Takes the adapter's roads out of a model of its own, and lets the rest of that go."""
        assert entry.folder is not None
        facts = self._adapters.load(entry.name, entry.folder)
        try:
            _require_the_same(entry, facts)
            artifact, bare = self._adapters.artifact(entry.name), self._adapters.bare(entry.name)
            row_name, roads = f"{entry.name}#{next(self._serial)}", roads_of(artifact.model, bare)
            runs_in: Lane | Scribe
            if isinstance(artifact.objective, OnePass):
                runs_in = self._lane(artifact, artifact.objective, bare)
                runs_in.add(row_name, roads, artifact.collator)
            else:
                runs_in = self._scribe(artifact, bare)
                runs_in.add(row_name, roads, opening(facts.strategy, artifact.model, artifact.spec))
            return Loaded(runs_in, row_name, facts, artifact.tokenizer, roads.own_bytes)
        finally:
            self._adapters.unload(entry.name)

    def _whole(self, entry: Entry) -> Loaded:
        """A model by itself: the base, or a whole one."""
        if entry.folder is None:
            artifact = self._adapters.own()
            return Loaded(self._scribe(artifact, artifact.model), BASE, artifact.facts, artifact.tokenizer, 0)
        artifact = open_artifact(entry.folder, trust_remote_code=self._trusted)
        _require_the_same(entry, artifact.facts)
        is_one_pass = isinstance(artifact.objective, OnePass)
        runs_in = Lane.alone(artifact) if is_one_pass else self._new_scribe(artifact, artifact.model)
        return Loaded(runs_in, BASE, artifact.facts, artifact.tokenizer, _weight_bytes(artifact.facts))

    def _scribe(self, artifact: Artifact, bare: PreTrainedModel) -> Scribe:
        """The one on the base."""
        if id(bare) not in self._scribes:
            self._scribes[id(bare)] = self._new_scribe(artifact, bare)
        return self._scribes[id(bare)]

    def _new_scribe(self, artifact: Artifact, bare: PreTrainedModel) -> Scribe:
        return Scribe(Forked(bare, artifact.spec), self._limits)

    def _lane(self, artifact: Artifact, objective: OnePass, bare: PreTrainedModel) -> Lane:
        strategy = artifact.facts.strategy
        virtual = next((part for part in strategy.parts if isinstance(part, VirtualTokens)), None)
        tokens = None if virtual is None else (type(virtual), virtual.tokens)
        key = (id(bare), type(objective), tokens, replace(artifact.collator, max_length=0))
        if key not in self._lanes:
            forked = Forked(bare, artifact.spec, virtual)
            self._lanes[key] = Lane(objective, artifact.collator, forked.model, forked)
        return self._lanes[key]

    def _make_room(self, entry: Entry, needed: int) -> None:
        """Let others go until `needed` bytes are within the budget. Raises ArtifactError TT-N050 where they never
        are, Busy TT-N002 where all others stay in use for longer than a request may take."""
        most = self._limits.adapter_bytes
        if needed > most:
            raise _too_large(entry, needed, self._limits)
        given_up = monotonic() + self._limits.deadline_seconds
        while self.own_bytes + needed > most:
            pinned = sum(one.own_bytes for one in self._pinned_beside(entry))
            if pinned + needed > most:
                raise ArtifactError("TT-N055", name=entry.name, own=needed, pinned=pinned, most=most)
            if self._closed:
                raise Busy("TT-N003")
            idle = self._longest_unused(entry)
            if idle is not None:
                self.evictions += self._let_go(idle)
            elif monotonic() > given_up:
                raise Busy("TT-N002", seconds=self._limits.deadline_seconds)
            else:
                with self._changed:
                    self._changed.wait(_LOOK_SECONDS)

    def _pinned_beside(self, entry: Entry) -> list[Loaded]:
        found = [one.loaded for one in self.entries if one.pinned and one is not entry]
        return [loaded for loaded in found if loaded is not None]

    def _longest_unused(self, but: Entry) -> Entry | None:
        idle = [
            entry
            for entry in self.entries
            if entry.loaded and entry is not but and not entry.pinned and entry.in_flight == 0
        ]
        return min(idle, key=lambda entry: entry.used, default=None)

    def _let_go(self, entry: Entry) -> bool:
        """Whether it went: not where it has been asked meanwhile."""
        with self._changed:
            if entry.in_flight:
                return False
            loaded, entry.load = entry.loaded, None
            if entry in self._leaving:
                self._leaving.remove(entry)
            self._changed.notify_all()
        if loaded is not None:
            self._taken_out(loaded)
        return True

    def _taken_out(self, loaded: Loaded) -> None:
        if loaded.row_name != BASE:
            loaded.runs_in.remove(loaded.row_name)
        elif isinstance(loaded.runs_in, Scribe) and loaded.runs_in not in self._scribes.values():
            loaded.runs_in.close(0)
            self._written_before += loaded.runs_in.written_tokens
            self._expired_before += loaded.runs_in.expired


def _require_the_same(entry: Entry, facts: ArtifactFacts) -> None:
    """Raises ArtifactError TT-N053 where another artifact lies there than was registered."""
    if facts != entry.facts:
        raise ArtifactError("TT-N053", name=entry.name, folder=str(entry.folder))


def _is_plugged(facts: ArtifactFacts) -> bool:
    """Whether it is kept beside the base, or is a head on it; else a whole model of its own."""
    return facts.adapter or is_head_alone(facts)


def _weight_bytes(facts: ArtifactFacts) -> int:
    return sum(size for name, size, _ in facts.files if name.endswith((".safetensors", ".onnx", ".data", ".bin")))


def _too_large(entry: Entry, own: int, limits: Limits) -> ArtifactError:
    return ArtifactError("TT-N050", name=entry.name, own=own, most=limits.adapter_bytes)


def require_writing(entry: Entry) -> None:
    """Raises UsageError TT-N052 where an adapter answers in one pass."""
    if isinstance(OBJECTIVES[entry.facts.task], OnePass):
        raise UsageError("TT-N052", name=entry.name, task=entry.facts.task)


def objective_of(entry: Entry) -> OnePass:
    """The task of an adapter that answers in one pass. Raises UsageError TT-N051 where it writes."""
    objective = OBJECTIVES[entry.facts.task]
    if not isinstance(objective, OnePass):
        raise UsageError("TT-N051", name=entry.name, task=entry.facts.task)
    return objective
