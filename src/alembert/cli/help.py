"""How a verb shows its help, options in groups, and tells all arguments that it cannot take."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

GROUPED = 14  # a verb with more options shows them in groups
# A group's title and its options; those of no group come last, under "Other options".
OPTION_GROUPS = {
    "Texts": "--train --valid --eval --data --corpus --unlabelled",
    "Columns and labels": "--text --text-pair --label --kind --task --skip-bad-rows --slice",
    "Models": "--teacher --general-teacher --student --mlm --vectors --embeddings --recipe "
    "--recipes --layers --hidden-size --vocabulary",
    "Budget": "--max-latency-ms --min-retention --min-speedup --length --trials --steps",
    "Training": "--epochs --batch-size --learning-rate --max-length --set --precision --seed "
    "--seeds --cache-teacher --cache-top --cache-precision",
    "Result": "--out --metric --baselines --with-undistilled --export --callback --track --json "
    "--chart --keep",
    "Running": "--backend --threads --long --top --pair --engine --replicas --batch",
    "Address": "--host --port --cors --access-log",
    "Keys": "--api-key --api-keys --rate --open-metrics",
    "News": "--quiet --verbose",
    "Limits": "--batch-tokens --max-requests --max-wait --max-inputs --max-body --grace",
}
VERB_GROUPS = {
    "Train": "quickstart check finetune distill search tune",
    "Prepare texts and models": "augment corpus trim recipes",
    "Measure": "evaluate compare bench report",
    "Deploy": "export predict serve clean",
}


class _Mistakes(typer.BadParameter):
    """Arguments that are wrong, a line each."""

    def format_message(self) -> str:
        return self.message


class Verb(TyperCommand):
    """A command whose help has groups, and which tells every argument that is wrong at once."""

    # what typer calls these with has no public name in it
    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options by their groups."""
        records = [(each, each.get_help_record(ctx)) for each in self.get_params(ctx)]
        shown = [(each, record) for each, record in records if record is not None]
        options = {each.opts[0]: record for each, record in shown if not _is_argument(each)}
        sections = {"Arguments": [record for each, record in shown if _is_argument(each)]}
        if len(options) <= GROUPED:
            sections["Options"] = list(options.values())
        else:
            for title, names in OPTION_GROUPS.items():
                sections[title] = [options.pop(name) for name in names.split() if name in options]
            sections["Other options"] = list(options.values())
        _write(formatter, sections)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raise an error that has a line for each that is wrong or missing."""
        try:
            return super().parse_args(ctx, list(args))
        except typer.BadParameter as first:
            given, rest, order = self.make_parser(ctx).parse_args(args=list(args))
            told = [first.format_message()]
            for each in dict.fromkeys([*order, *self.get_params(ctx)]):
                try:
                    each.handle_parse_result(ctx, given, rest)
                except typer.BadParameter as error:
                    told.append(error.format_message())
            raise _Mistakes("\nError: ".join(dict.fromkeys(told)), ctx) from first


class Verbs(TyperGroup):
    """The command itself, whose help lists the verbs in groups, each with its whole sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs by their groups."""
        rows = {name: (name, verb.get_short_help_str(200)) for name, verb in self.commands.items()}
        sections = {
            title: [rows.pop(name) for name in names.split() if name in rows]
            for title, names in VERB_GROUPS.items()
        }
        _write(formatter, sections | {"Commands": list(rows.values())})


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _write(formatter: Any, sections: dict[str, list[tuple[str, str]]]) -> None:
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
