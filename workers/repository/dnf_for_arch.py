"""dnf with one more architecture: run as a script by the host's own Python, which has dnf's modules.

``dnf_for_arch.py ARCH dnf-arguments…``. dnf outside AlmaLinux knows no x86_64_v2 and refuses ``--forcearch`` of it.
"""

import sys

import dnf.cli.main
import dnf.rpm

if __name__ == "__main__":
    dnf.rpm._BASEARCH_MAP.setdefault(sys.argv[1], sys.argv[1])
    sys.exit(dnf.cli.main.user_main(sys.argv[2:], exit_code=True) or 0)
