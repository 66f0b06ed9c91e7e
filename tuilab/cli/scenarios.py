"""The commands for writing scenario files: new, schema."""

import json

import click

from tuilab.terminal import say, shell_command


@click.command()
@click.argument("name")
def new(name: str) -> int:
    """Create NAME.toml, a commented scenario to start from."""
    from tuilab.scenario.template import create

    path = create(name)
    say(f"{path}   (train: {shell_command('run', path)}; check: {shell_command('check', path)})")
    return 0


@click.command()
def schema() -> int:
    """Print the JSON Schema of scenario files.

    Editors use it to complete and check scenario files. Save it with tuilab schema >
    scenario.schema.json, and begin a scenario with the line: #:schema scenario.schema.json
    """
    from tuilab.scenario.schema import schema

    say(json.dumps(schema(), indent=1, ensure_ascii=False))
    return 0
