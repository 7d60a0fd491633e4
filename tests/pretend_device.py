"""Tensors that say they are on another device and compute on the CPU: finds tensors of two devices in one operation.

Every operation is refused that a real GPU would refuse: operands of both devices (single CPU numbers excepted),
`.numpy()`, and copies that nobody asked for. Nothing is learnt about speed or rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretended"


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend(NAME, _Module())
DEVICE = torch.device(NAME, 0)
# Operations whose index operands may lie on the CPU, as in PyTorch.
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
_COPIES = ("_to_copy", "copy_", "to")


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device; `held` is where its numbers are."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Elsewhere:
        """Wrap a CPU tensor."""
        self = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE, requires_grad=False,
        )  # fmt: skip
        self.held = held
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU what the operation's device rules allow."""
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Numbers as Python lists; waits for the device, as on a real one."""
        return self.detach().held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """Refused, as on a real GPU."""
        raise TypeError("can't convert a tensor of another device to numpy; use Tensor.cpu() first.")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held!r})"


class PretendDevice(TorchDispatchMode):
    """While it is entered, factories make their tensors on the device that they are told."""

    def __enter__(self) -> PretendDevice:
        self._before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(...) begins on the CPU, then moves where we see it
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(self._before)
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As for the tensors themselves."""
        return _compute(func, args, kwargs or {})


def elsewhere(x: torch.Tensor) -> torch.Tensor:
    """`x` on the pretended device; a leaf if `x` was one."""
    return Elsewhere(x.detach().clone()).requires_grad_(x.requires_grad)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    device = kwargs.get("device")
    asked = None if device is None else torch.device(device).type
    there = any(isinstance(x, Elsewhere) for x in leaves)
    if there and name not in _COPIES:
        _check(name, args, kwargs)
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map(_held, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    there_now = asked == NAME if asked is not None else there
    if name == "copy_":
        there_now = isinstance(args[0], Elsewhere)
    if not there_now:
        return out
    same = {id(_held(x)): x for x in leaves if isinstance(x, Elsewhere)}  # in-place operations give their own operand
    return tree_map(lambda x: same.get(id(x), Elsewhere(x)) if isinstance(x, torch.Tensor) else x, out)


def _check(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    looked_at = (args[0], args[2:]) if name in _INDEXING else (args, kwargs)
    for x in tree_leaves(looked_at):
        if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) and x.ndim:
            raise RuntimeError(
                f"{name}: expected all tensors on one device, but one of shape {list(x.shape)} is on cpu"
            )


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Elsewhere) else x
