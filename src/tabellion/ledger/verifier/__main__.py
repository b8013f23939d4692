"""`python -m tabellion.ledger.verifier`: the verifier by itself."""

import sys

from tabellion.ledger.verifier.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
