"""The command that lists what this machine and installation offer."""

from __future__ import annotations

from kdda.cli.shared import app


@app.command()
def doctor() -> None:
    """Say which versions, devices and extras there are."""
    from kdda.experiment.doctor import installation
    from kdda.report.render import to_markdown

    for table in installation():
        print(f"{table.title}\n\n{to_markdown(table)}")
