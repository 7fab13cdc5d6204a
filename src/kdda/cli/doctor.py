"""The command `doctor`, which describes this machine and installation."""

from __future__ import annotations

from kdda.cli.shared import app


@app.command()
def doctor() -> None:
    """Print versions, devices and extras of this installation."""
    from kdda.experiment.doctor import installation
    from kdda.report.render import to_markdown

    for table in installation():
        print(f"{table.title}\n\n{to_markdown(table)}")
