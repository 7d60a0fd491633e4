"""How a function becomes a command: --json, help, and flags read in every form that people write them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ctkd_core.cli import COMMANDS, module_of
from ctkd_core.cli.common import Json, Output, UsageError
from ctkd_core.errors import short, unknown

if TYPE_CHECKING:
    from rich.console import RenderableType

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


def _help(command: Any, ctx: Any) -> str:
    """The help of a command as plain text: one flag a line, whatever its length."""
    from ctkd_core.cli.display import facts, plain_text

    usage = " ".join(["usage:", ctx.command_path, *command.collect_usage_pieces(ctx)])
    sections = _sections(command, ctx)
    if isinstance(command, TyperGroup):
        found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        sections["Commands"] = [(name, row.help or "") for name, row in found if row is not None]
    parts: list[RenderableType] = [usage, command.help]
    for title, rows in sections.items():
        parts.append(f"{title}:\n" + plain_text(facts(rows, indent=2)))
    if command.epilog:
        parts.append(command.epilog)
    return plain_text(*parts, *command.after_help())


def _sections(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """The arguments and flags of a command with their help, by the heading below which they stand."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            title = getattr(param, "rich_help_panel", None) or f"{param.param_type_name}s".capitalize()
            sections.setdefault(title, []).append(record)
    return sections


class WithHelp:
    """Help as typer draws it in a terminal, and as plain text elsewhere."""

    # What stands below the flags.
    after_help: Callable[[], Iterable[RenderableType]] = staticmethod(lambda: ())

    def get_help(self, ctx: Any) -> str:
        """What --help prints."""
        if not sys.stdout.isatty():
            return _help(self, ctx)
        from ctkd_core.cli.display import render

        super().get_help(ctx)  # type: ignore[misc]  # (typer prints it itself)
        return render(self.after_help(), sys.stdout)


class Command(WithHelp, TyperCommand):
    """A command with its flags."""

    # Words that are left over are told in our own words.
    allow_extra_args = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """typer's, for words in every form that is allowed; raises UsageError for a word too many."""
        rest = super().parse_args(ctx, self._spelled_out(ctx, args))
        if rest and not ctx.resilient_parsing:
            raise UsageError(f"`{ctx.command_path}` does not expect {short(rest[0])}; see `{ctx.command_path} --help`.")
        return rest

    def _spelled_out(self, ctx: Any, args: list[str]) -> list[str]:
        """The words with `-m=sedi` as two words, and flags that take several words (F...) repeated for each."""
        options: list[Any] = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        flags = {name for param in options for name in param.opts}
        takes = {name for param in options if not param.is_flag for name in param.opts}
        several = {name for param in options if str(param.metavar).endswith("...") for name in param.opts}
        words: list[str] = []
        rest = deque(args)
        while rest:
            word = rest.popleft()
            name, equals, value = word.partition("=")
            if word == "--":
                return [*words, word, *rest]
            if equals and name in takes and not name.startswith("--"):
                words += [name, value]
            elif word in several:
                found = []
                while rest and (rest[0] == "-" or not rest[0].startswith("-")):
                    found.append(rest.popleft())
                if not found and not ctx.resilient_parsing:
                    raise UsageError(f"argument {word}: expected at least one argument.")
                words += [part for each in found for part in (word, each)]
            elif word in takes and not ctx.resilient_parsing:
                if not rest or rest[0].partition("=")[0] in flags:
                    hint = f"a value that looks like a flag is written {word}=VALUE"
                    raise UsageError(f"argument {word}: expected one argument; {hint}.")
                words += [word, rest.popleft()]
            else:
                words.append(word)
        return words


class Group(WithHelp, TyperGroup):
    """Several commands under one name."""

    noun = "ACTION"
    default = ""  # the action that is meant where none is named

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """typer's, with the default action put in where the first word names none."""
        names = [*self.list_commands(ctx), *CONTEXT["help_option_names"], "--json"]
        first = next((word for word in args if word != "--json"), "")
        if self.default and first and first not in names and not ctx.resilient_parsing:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """typer's; an unknown name fails with the nearest ones."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            what = "command" if ctx.parent is None else f"{self.noun} of `{ctx.command_path}`"
            raise unknown(what, args[0], names, UsageError)
        return super().resolve_command(ctx, args)


def _help_of_default(command: Any) -> Iterable[RenderableType]:
    """The arguments and flags of the action that is meant where none is named."""
    from rich.console import Group as Parts

    from ctkd_core.cli.display import facts, paragraph

    ctx = typer.Context(command, info_name=command.name, **CONTEXT)
    action = command.get_command(ctx, command.default)
    yield paragraph(f"Without an ACTION, {command.default} is meant, which takes:")
    for title, rows in _sections(action, typer.Context(action, info_name=command.default, parent=ctx)).items():
        yield Parts(f"{title}:", facts(rows, indent=2))


def plain_run(run: Callable[..., Output]) -> Callable[..., Output]:
    """`run` with the --json flag of every command; what libraries print goes to stderr, stdout is for the output."""
    signature = inspect.signature(run, eval_str=True)
    parameters = dict(signature.parameters)
    own = "json" in parameters
    if not own:
        parameters["json"] = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)

    @functools.wraps(run)
    def command(**given: Any) -> Output:
        if not own:
            given.pop("json")  # main has seen it: it must know before a flag can be wrong
        with contextlib.redirect_stdout(sys.stderr):
            return run(**given)

    command.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    return command


def load(name: str) -> Any:
    """The command of that name, its module loaded; the docs and tests read it too."""
    module = module_of(name)
    actions = getattr(module, "ACTIONS", None)
    text = sentence(COMMANDS[name])
    app = typer.Typer(add_completion=False)
    if actions is None:
        app.command(name, cls=Command, help=text, context_settings=CONTEXT)(plain_run(module.run))
    else:
        metavar = f"{Group.noun} [ARGS]..."
        settings: dict[str, Any] = {"cls": Group, "subcommand_metavar": metavar, "context_settings": CONTEXT}
        app.callback(invoke_without_command=True, help=text, **settings)(_no_action)
        for action, run in actions.items():
            app.command(action, cls=Command, context_settings=CONTEXT)(plain_run(run))
    command: Any = typer.main.get_command(app)
    command.name = name
    command.default = getattr(module, "DEFAULT_ACTION", "")
    own = functools.partial(_help_of_default, command) if command.default else command.after_help
    command.after_help = getattr(module, "after_help", own)
    return command


def _no_action(ctx: typer.Context, json: Json = False) -> None:  # noqa: ARG001
    if ctx.invoked_subcommand is None:
        names = ", ".join(ctx.command.list_commands(ctx))  # type: ignore[attr-defined]
        raise UsageError(f"an ACTION is missing: {ctx.command_path} ACTION ..., one of {names}.")


def sentence(summary: str) -> str:
    """A summary of the table as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."
