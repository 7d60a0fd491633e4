"""Which devices can be here, without asking torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ctkd_core.distill import devices
from tests.patience import PATIENCE


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Makes the files of a /dev of this test's own; no variable of this shell counts."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "cuda_count", partial(devices.cuda_count, tmp_path))

    def make(*names: str) -> None:
        for name in names:
            (tmp_path / name).touch()

    return make


def test_gpus_are_counted_by_their_files(files, monkeypatch):
    assert devices.cuda_count() == 0
    files("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm")
    assert devices.cuda_count() == 2
    for visible, count in (("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("0,-1,1", 1), ("0,1,2,3", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert devices.cuda_count() == count, visible


@pytest.mark.parametrize("other", ["kfd", "dxg", "nvmap"])
def test_of_other_gpus_files_do_not_tell(files, other):
    files(other)
    assert devices.cuda_count() is None
    assert devices.missing_device("cuda:99") == ""


def test_the_memory_of_a_gpu_is_asked_of_torch_in_another_process(files, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_told", {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    torch = tmp_path / "torch.py"
    torch.write_text("class cuda:\n    mem_get_info = {'cuda:0': (3, 8), 'cuda:1': (4, 8)}.__getitem__\n")
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "torch.py").touch()
    monkeypatch.chdir(tmp_path / "users")
    assert devices.gpu_memory("cuda") is None, "there is none"
    files("nvidia0", "nvidia1", "nvidia2")
    assert (devices.gpu_memory("cuda"), devices.gpu_memory("cuda:1"), devices.gpu_memory("cpu")) == (
        (3, 8),
        (4, 8),
        None,
    )
    assert devices.gpu_memory("cuda:2") is None, "torch can't tell"
    torch.write_text("")
    assert devices.gpu_memory("cuda") == (3, 8), "for some seconds nobody is asked again"
    monkeypatch.setattr(devices, "_REMEMBERED_SHORT", 0.0)
    torch.write_text("class cuda:\n    mem_get_info = {'cuda:0': (7, 8)}.__getitem__\n")
    assert devices.gpu_memory("cuda", 3) == (3, 8)
    assert devices.gpu_memory("cuda", 4) == (7, 8), "what isn't enough may be free by now"
    torch.write_text("")
    monkeypatch.setattr(devices, "_REMEMBERED", 0.0)
    assert devices.gpu_memory("cuda") is None


def test_all_who_ask_a_gpu_wait_for_one_process(files, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_told", {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    files("nvidia0")
    go, asked = tmp_path / "go", tmp_path / "asked"
    (tmp_path / "torch.py").write_text(
        "import os, time\n"
        f"with open({str(asked)!r}, 'a') as file: file.write('once ')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "class cuda:\n    mem_get_info = {'cuda:0': (3, 8)}.__getitem__\n"
    )
    assert devices.asking_memory("cuda") and devices.told_memory("cuda") is None, "a page goes on without it"
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(devices.gpu_memory, "cuda") for _ in range(4)]
        assert devices.asking_memory("cuda") and not any(each.done() for each in waiting)
        go.touch()
        assert [each.result(PATIENCE) for each in waiting] == [(3, 8)] * 4
    assert asked.read_text() == "once "
    assert not devices.asking_memory("cuda") and devices.told_memory("cuda") == (3, 8)
    go.unlink()
    assert devices.asking_memory("cuda", 4) is False, "for some seconds nobody is asked again"
    monkeypatch.setattr(devices, "_REMEMBERED_SHORT", 0.0)
    assert devices.asking_memory("cuda", 4) and devices.told_memory("cuda") == (3, 8)
    go.touch()
    assert devices.gpu_memory("cuda", 4) == (3, 8)
    assert not devices.asking_memory("cpu") and devices.told_memory("cpu") is None


def test_a_device_that_cannot_be_here_is_named(files):
    assert "'cuda:99' isn't here: this computer shows 0 CUDA devices" in devices.missing_device("cuda:99")
    assert devices.missing_device("cuda")
    assert "Macs" in devices.missing_device("mps")
    files("nvidia0")
    for there in ("cuda", "cuda:0", "auto", "cpu"):
        assert devices.missing_device(there) == ""
    assert devices.missing_device("cuda:1")
