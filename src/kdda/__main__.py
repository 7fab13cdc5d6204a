"""`python -m kdda`, and what `accelerate launch -m kdda` starts."""

from kdda.cli import main

main()
