"""Run dnf with one more architecture: ``dnf_for_arch.py ARCH dnf-arguments…``.

dnf outside AlmaLinux does not know x86_64_v2 and refuses ``--forcearch x86_64_v2``. A file alone, because the host's
Python runs it as a script: only that Python has dnf's modules.
"""

import sys

import dnf.cli.main
import dnf.rpm

if __name__ == "__main__":
    dnf.rpm._BASEARCH_MAP.setdefault(sys.argv[1], sys.argv[1])
    sys.exit(dnf.cli.main.user_main(sys.argv[2:], exit_code=True) or 0)
