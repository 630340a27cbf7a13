"""``kitten token-key``: make the OpenPGP key of a key in a PKCS#11 token."""

from __future__ import annotations

from pathlib import Path

import click

from workers.base import options


@click.command("token-key")
@click.option(
    "--module",
    required=True,
    type=click.Path(path_type=Path),
    help="The token's PKCS#11 library: /usr/lib64/pkcs11/opensc-pkcs11.so …",
)
@click.option(
    "--pin-file", required=True, type=click.Path(path_type=Path), help="File with the PIN; no other user may read it."
)
@click.option("--owner", metavar="TEXT", help="User id of the key.  [default: the site's title]")
@options.site
@options.state
def token_key(module: Path, pin_file: Path, owner: str | None, site_name: str, state_folder: Path | None) -> None:
    """Make the OpenPGP key of the RSA key in a token, and print signing.yaml for it.

    \b
    Run this once for a key: the fingerprint depends on the time, so a second call makes another key, which users would
    have to trust again. The token needs
      - one RSA key:            pkcs11-tool --login --keypairgen --key-type rsa:4096 --id 01 --label sign
      - any certificate for it: gnupg-pkcs11-scd finds the key by its certificate
    The secret never leaves the token. Keep the printed file: GnuPG has no other copy of the public key.

    \b
      kitten token-key --module LIBRARY.so --pin-file secrets/pin > signing.yaml; mv -n signing.yaml config/SITE/
    """  # noqa: D301 - click's mark for lines that it does not wrap
    from config.models import Secret, Signing
    from workers.signing.backends import new_token_key

    site, state = options.site_and_state(site_name, state_folder)
    library, pin = module.absolute(), pin_file.absolute()
    signing = Signing(backend="pkcs11", module=str(library), passphrase=Secret(file=str(pin)))
    fingerprint, public = new_token_key(signing, state, owner or f"{site.distribution.title} (packages and indexes)")
    lines = [f"    {line}".rstrip() for line in public.splitlines()]
    click.echo(
        f"backend: pkcs11\nmodule: {library}\npassphrase: {{file: {pin}}}\nkey: {fingerprint}\npublic_keys:\n  - |\n"
        + "\n".join(lines)
    )
