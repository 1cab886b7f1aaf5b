"""artifacts: folders that trainings leave, as facts: what each is, where it lies, what is in its weight files.

Above the torch line: a list of adapters must not wait for torch, and what is not to be opened is refused here,
before memory is spent. Leaves out weights themselves (evaluation opens them) and the report beside them (study).
"""

from trimtab.artifacts.facts import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    ArtifactFacts,
    Base,
    Origin,
    base_of,
    glance,
    read_facts,
    sha256_of,
)
from trimtab.artifacts.facts import NAME as FACTS_FILE
from trimtab.artifacts.folder import (
    StoredArtifact,
    artifact_named,
    default_folder,
    deletable,
    delete_artifact,
    require_name,
    stored,
    stored_artifacts,
    weight_bytes,
)
from trimtab.artifacts.lineage import Change, Compared, Engine, OneText, ReadAlike
from trimtab.artifacts.peft_folder import PeftLora, read_peft_lora
from trimtab.artifacts.tensors import adapter_tensors, require_fit, require_part, trained_tensors_of

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "FACTS_FILE",
    "ArtifactFacts",
    "Base",
    "Change",
    "Compared",
    "Engine",
    "OneText",
    "Origin",
    "PeftLora",
    "ReadAlike",
    "StoredArtifact",
    "adapter_tensors",
    "artifact_named",
    "base_of",
    "default_folder",
    "deletable",
    "delete_artifact",
    "glance",
    "read_facts",
    "read_peft_lora",
    "require_fit",
    "require_name",
    "require_part",
    "sha256_of",
    "stored",
    "stored_artifacts",
    "trained_tensors_of",
    "weight_bytes",
]
