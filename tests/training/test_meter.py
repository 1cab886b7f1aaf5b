"""Memory given back to the system, as the system sees it."""

import sys

import psutil
import pytest
import torch

from trimtab.training.meter import give_back_heap
from trimtab.units import MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")
def test_freed_blocks_go_back_to_the_system() -> None:
    """64 MiB in blocks too small to be mapped one by one; some that stay keep the heap from shrinking itself."""
    blocks = [torch.ones(16 * 1024) for _ in range(1024)]
    stay = blocks[::64] + blocks[-1:]
    del blocks
    held = psutil.Process().memory_info().rss
    give_back_heap()
    assert held - psutil.Process().memory_info().rss > 32 * MIB
    assert all(block.all() for block in stay)
