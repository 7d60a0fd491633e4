"""When the Triton kernels are chosen."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ctkd_core.errors import LossInputError
from ctkd_core.losses.kernels import switch
from ctkd_core.losses.kernels.switch import triton_mode, use_triton


def test_a_cpu_computes_in_torch_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTKD_TRITON", raising=False)
    assert switch.current_mode() == "auto"
    assert not use_triton(torch.zeros(2, 3))
    monkeypatch.setenv("CTKD_TRITON", " OFF ")
    assert switch.current_mode() == "off"


def test_the_mode_of_a_block_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_TRITON", "interpret")
    with triton_mode("off"):
        assert switch.current_mode() == "off"
        assert not use_triton(torch.zeros(2))
    assert switch.current_mode() == "interpret"
    assert not use_triton(torch.zeros(2, dtype=torch.float64))  # kernels compute in float32
    assert not use_triton()


def test_unknown_modes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_TRITON", "interpreted")
    with pytest.raises(LossInputError, match="interpret"):
        switch.current_mode()
    with pytest.raises(LossInputError, match="CTKD_TRITON"), triton_mode("fast"):
        pass


def test_the_interpreter_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "installed", lambda: False)
    with triton_mode("interpret"), pytest.raises(LossInputError, match="pip install triton"):
        use_triton(torch.zeros(2))


@pytest.mark.parametrize("imported_to_interpret", [True, False])
def test_the_interpreter_is_refused_where_triton_was_imported_to_compile(
    imported_to_interpret: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")  # put back afterwards, whatever is written here
    triton = SimpleNamespace(knobs=SimpleNamespace(runtime=SimpleNamespace(interpret=imported_to_interpret)))
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setattr(switch, "installed", lambda: True)
    with triton_mode("interpret"):
        if imported_to_interpret:
            assert use_triton(torch.zeros(2))
        else:
            with pytest.raises(LossInputError, match="must be set before Triton is imported"):
                use_triton(torch.zeros(2))


@pytest.mark.parametrize("installed", [True, False])
def test_a_gpu_uses_the_kernels_where_the_package_is_there_and_on_the_current_device(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors are known by their data type and device alone, so that no GPU is needed."""

    def there(*devices: str) -> list[Any]:
        return [SimpleNamespace(dtype=torch.bfloat16, device=torch.device(device)) for device in devices]

    monkeypatch.setattr(switch, "installed", lambda: installed)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    with triton_mode("auto"):
        assert use_triton(*there("cuda:1", "cuda:1")) is installed
        for elsewhere in (["cuda:0"], ["cuda:0", "cuda:1"], ["cuda:1", "cpu"]):
            assert not use_triton(*there(*elsewhere)), elsewhere
    with triton_mode("off"):
        assert not use_triton(*there("cuda:1"))


def test_losses_on_a_cpu_import_no_triton() -> None:
    code = "import sys, torch; from ctkd_core import losses; from ctkd_core.losses.engine import engine; \
        from ctkd_core.losses import gold, xtoken, same; assert 'triton' not in sys.modules"
    # torch itself may import triton where it is installed, but importing losses doesn't
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "AssertionError" in done.stderr:
        alone = subprocess.run(
            [sys.executable, "-c", "import sys, torch; assert 'triton' not in sys.modules"], check=False
        )
        assert alone.returncode != 0, done.stderr
