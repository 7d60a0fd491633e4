"""Energy from a made-up powercap folder and a made-up NVML: what is counted, what starts again, what is left out."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

import ctkd_core
from ctkd_core.distill.training import energy
from ctkd_core.distill.training.energy import Counter, EnergyMeter, meter_of, rapl_counters

RANGE = 1_000_000_000  # microjoules, at which a counter starts again


def zone(folder, name, what, microjoules=0):
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{what}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return path / "energy_uj"


def test_processors_and_memories_are_counted_once(tmp_path):
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 5), zone(tmp_path, "intel-rapl:1", "package-1")
    memory = zone(tmp_path, "intel-rapl:0:1", "dram")
    core, board = zone(tmp_path, "intel-rapl:0:0", "core"), zone(tmp_path, "intel-rapl:2", "psys")
    meter = meter_of("cpu", tmp_path)
    assert meter is not None and len(meter.counters) == 3
    assert meter.spent() == 0.0
    for path, microjoules in (
        (first, 2_000_005),
        (second, 3_000_000),
        (memory, 500_000),
        (core, 9_000_000),
        (board, 9),
    ):
        path.write_text(str(microjoules))
    assert meter.spent() == pytest.approx(5.5)
    assert meter.spent() == 0.0


def test_a_counter_that_starts_again_goes_on(tmp_path):
    path = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = EnergyMeter(rapl_counters(tmp_path))
    path.write_text("2000000")
    assert meter.spent() == pytest.approx(3.0)
    path.write_text("4500000")
    assert meter.spent() == pytest.approx(2.5)


def test_a_meter_whose_counter_failed_stays_silent():
    """Else what was spent between steps would be the next step's."""
    readings = iter([0.0, 5.0, OSError("gone"), 90.0, 95.0])

    def read():
        value = next(readings)
        if isinstance(value, OSError):
            raise value
        return value

    meter = EnergyMeter([Counter(read)])
    assert [meter.spent() for _ in range(4)] == [5.0, None, None, None]


def test_where_nothing_is_told_there_is_no_meter(tmp_path):
    assert meter_of("cpu", tmp_path) is None
    assert meter_of("cpu", tmp_path / "nowhere") is None
    assert meter_of("mps", tmp_path) is None
    path = zone(tmp_path, "intel-rapl:0", "package-0")
    meter = meter_of("cpu", tmp_path)
    path.write_text("what")
    assert meter is not None and meter.spent() is None
    path.unlink()  # as for a user who may not read it
    assert meter.spent() is None
    assert meter_of("cpu", tmp_path) is None


def test_a_gpu_is_counted_by_its_uuid_and_never_left_out(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert meter_of("cuda:1", tmp_path) is None, "the processor alone isn't what the run takes"
    taken = {"GPU-abc": 1_000}

    class NVMLError(Exception):
        pass

    def total(handle):
        if handle not in taken:
            raise NVMLError("not supported")
        return taken[handle]

    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=total,
        NVMLError=NVMLError,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="abc"))
    meter = meter_of("cuda:1", tmp_path)
    assert meter is not None and len(meter.counters) == 2
    taken["GPU-abc"] = 3_500
    assert meter.spent() == pytest.approx(2.5)
    taken.clear()
    assert meter.spent() is None
    assert meter_of("cuda:1", tmp_path) is None, "a GPU without such a counter"


def test_a_run_notes_the_joules_of_its_steps(pair, store, tmp_path, monkeypatch):
    path = zone(tmp_path, "intel-rapl:0", "package-0")
    real, ticks = energy._text, iter(range(10_000))

    def read(file):
        return str(1_000_000 * next(ticks)) if file == path else real(file)  # one joule more each time

    monkeypatch.setattr(energy, "_text", read)
    monkeypatch.setattr(energy.meter_of, "__defaults__", (tmp_path,))
    run = ctkd_core.distill(pair.config(method="sft", steps=3, save_student=False), store)
    assert [row["joules"] for row in run.metric_rows() if row["kind"] == "train"] == [1.0, 1.0, 1.0]
    monkeypatch.setattr(energy.meter_of, "__defaults__", (tmp_path / "nowhere",))
    plain = ctkd_core.distill(pair.config(method="sft", steps=1, save_student=False), store)
    assert not any("joules" in row for row in plain.metric_rows())
