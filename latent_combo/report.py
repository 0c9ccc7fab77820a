"""`python -m latent_combo.report RUN`: a run on one self-contained HTML page, to be sent to a colleague."""

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.files import write_atomically
from latent_combo.config import options
from latent_combo.config.saved import unreadable
from latent_combo.diagnostics.page import write_report
from latent_combo.runtime.run_folder import REPORT


def main() -> None:
    """Read the command line and write the page."""
    given = options.report()
    page = write_report(given.run, known=unreadable(given.run))
    out = given.out or given.run / REPORT
    write_atomically(out, page.encode())
    print(f"{out}: {len(page) / 1e6:.1f} MB, needs no other file and no network")


if __name__ == "__main__":
    run_cli(main)
