"""``clnn models``: the model zoo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clnn.cli import common
from clnn.errors import UsageError


def command(
    action: Annotated[
        list[str] | None, typer.Argument(metavar="[show NAME]", help="Print the card of one model.", show_default=False)
    ] = None,
    json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """List the models of the zoo, or show one's card."""
    common.start(quiet, verbose)
    from clnn.vision import zoo

    if action:
        if len(action) != 2 or action[0] != "show":
            raise UsageError(f"models {' '.join(action)}: write 'clnn models' or 'clnn models show NAME'")
        found = zoo.find(action[1])
        if found is None:
            names = ", ".join(entry.name for entry in zoo.entries())
            raise UsageError(f"model '{action[1]}': no such entry of the zoo; it has {names}")
        card = _card(found[0])
        if json:
            common.say_json(card)
        else:
            common.say(common.table(("key", "value"), [(key, _text(value)) for key, value in card.items()]))
        return
    cards = [_card(entry) for entry in zoo.entries()]
    if json:
        common.say_json(cards)
        return
    columns = ("name", "task", "head", "input", "shipped", "licence")
    common.say(common.table(columns, [[_text(card[key]) for key in columns] for card in cards]))
    common.note("'clnn models show NAME' prints a card; weights that do not ship: 'clnn detect --model FILE'", quiet)


def _card(entry: Any) -> dict[str, Any]:
    how = entry.input
    return {
        "name": entry.name,
        "title": entry.title,
        "task": entry.task,
        "head": entry.head,
        "classes": len(entry.read_labels()),
        "input": {"channels": how.channels, "resize": how.resize, "mean": list(how.mean), "std": list(how.std)},
        "weights": [weights.file.rpartition("/")[2] for weights in entry.weights],
        "shipped": entry.shipped,
        "licence": entry.licence,
        "provenance": entry.provenance,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['channels'].upper()}, {value['resize'].replace('_', ' ')}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
