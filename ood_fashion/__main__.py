"""`python -m ood_fashion` is the command `ood-fashion`."""

from ood_fashion.cli import main

if __name__ == "__main__":
    main(prog_name="ood-fashion")
