"""A cluster of two nodes, one of which is killed on the way: the sums are the same, nothing is counted twice."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import on_ray, sources
from ctkd_core.pair.corpora.counting import Counting
from ctkd_core.pair.corpora.counts import metrics
from ctkd_core.pair.corpora.engines import here
from ctkd_core.pair.corpora.measuring import count_corpora
from ctkd_core.pair.corpora.sources import read_texts
from ctkd_core.pair.corpus import measure_domains
from tests.patience import PATIENCE
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

PAIR = tiny_byte_level(), tiny_metaspace()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CtkdError, match=r"needs the package ray; run `pip install 'ctkd-lab\[ray\]'`"):
        measure_domains(*PAIR, {"a": CORPUS[:1]}, engine="ray")
    with pytest.raises(CtkdError, match="unknown engine 'rey'"):
        measure_domains(*PAIR, {"a": CORPUS[:1]}, engine="rey")


@pytest.fixture
def cluster() -> Any:
    ray = pytest.importorskip("ray", reason="needs the package ray[data], which no other test does")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.add_node(num_cpus=1)
        ray.init(address=made.address, log_to_driver=False)
        made.wait_for_nodes(PATIENCE)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.mark.slow
def test_a_node_that_is_killed_changes_nothing(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LEAST_PIECE", 2000)
    monkeypatch.setattr(sources, "MOST_PIECE", 2000)
    monkeypatch.setattr(sources, "WINDOW", 500)
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(f'{{"text": "{n} In 2024 we sold 201 units of it."}}' for n in range(2000)))
    corpus = read_texts(path)
    assert len(corpus.pieces()) > 30
    counting = Counting(*PAIR)
    alone = metrics(count_corpora(counting, {"a": corpus}, here)["a"])
    killed: list[float] = []

    def progress(share: float, _: str) -> None:
        if not killed and share < 1:
            killed.append(share)
            (node,) = cluster.worker_nodes
            for process in (found[0] for found in node.all_processes.values()):
                os.kill(process.process.pid, signal.SIGKILL)

    found = count_corpora(counting, {"a": corpus}, on_ray.on_ray, None, progress)
    assert killed and killed[0] < 0.5, "it was killed on the way"
    assert metrics(found["a"]) == alone
