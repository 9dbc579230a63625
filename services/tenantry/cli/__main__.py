"""`python -m tenantry.cli` is `tenantry`."""

from tenantry.cli.app import main

if __name__ == "__main__":
    main()
