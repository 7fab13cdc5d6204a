"""`python -m kdda`, and what `accelerate launch -m kdda` starts."""

from kdda.cli.shared import main

if __name__ == "__main__":  # processes that index starts import this file again
    main()
