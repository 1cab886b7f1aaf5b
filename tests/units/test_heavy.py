"""Heavy imports leave the collector as it was, whatever happens inside."""

import gc

import pytest

from trimtab.heavy import heavy_imports


def test_the_collector_rests_inside_and_is_as_it_was_behind() -> None:
    with heavy_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), heavy_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_rests_is_not_woken() -> None:
    gc.disable()
    try:
        with heavy_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
