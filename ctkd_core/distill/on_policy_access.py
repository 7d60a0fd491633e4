"""The options that let a server write the student's own text, and what goes together with them.

A server is handed what the student has learnt as a LoRA adapter, so the rest of its weights must be those that the
server has from its start. Everything else is refused here, before anything is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctkd_core.distill.settings import setting
from ctkd_core.distill.teachers.access import check_address
from ctkd_core.errors import RunError, short

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

KEY = "CTKD_ON_POLICY_API_KEY"  # environment variable with the server's key, which is written nowhere
OPTION = "on_policy_server"
FIELDS = (OPTION, "on_policy_server_model", "on_policy_refresh")


def server_setting() -> Any:
    """The field `on_policy_server`."""
    return setting(
        "",
        "Address of a vLLM server that writes the student's text, like http://localhost:8000/v1, with lora_rank above "
        f"0; empty: the run writes it. Its key is read from {KEY}.",
        advanced=True,
    )


def server_model_setting() -> Any:
    """The field `on_policy_server_model`."""
    return setting("", "Name by which that server knows the model at student_path.", advanced=True)


def refresh_setting() -> Any:
    """The field `on_policy_refresh`."""
    return setting(
        1,
        "That server gets the student's newest weights every so many steps.",
        low=1,
        high=1_000_000,
        advanced=True,
    )


def check_server(config: RunConfig) -> None:
    """Raise RunError where a server can't write the text of this run's student."""
    if config.on_policy_server_model and not config.on_policy_server:
        raise RunError(
            f"on_policy_server_model {short(config.on_policy_server_model)} is only read with on_policy_server."
        )
    if not config.on_policy_server:
        return
    check_address(config.on_policy_server, OPTION, KEY)
    if not config.on_policy_server_model:
        raise RunError(
            "on_policy_server needs on_policy_server_model: the name by which the server knows the model at "
            "student_path."
        )
    if not config.lora_rank:
        raise RunError(
            "on_policy_server needs lora_rank above 0: a server takes what the student has learnt as a LoRA adapter, "
            "and whole weights can't be handed over through this interface. Set lora_rank, or leave on_policy_server "
            "out, so that the run writes the text itself."
        )
    if config.student_model != "pretrained":
        raise RunError(
            f"on_policy_server needs student_model 'pretrained'; it is {config.student_model!r}, whose weights are "
            "made in the run: an adapter alone can't tell them to the server. Leave on_policy_server out, so that the "
            "run writes the text itself."
        )
