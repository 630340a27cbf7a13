#!/usr/bin/env bash
# Installs the operating system's packages that a purpose needs and this host lacks. Prints nothing if none is missing.
#   tools/host-packages.sh setup|demo|test|bench|lint
# They include the packages for the Python environment, which is made afterwards.
# For Debian 12 and 13 and Ubuntu 24.04 with apt. For Enterprise Linux and Fedora with dnf it is not yet tried.
set -euo pipefail

purpose=${1:?usage: tools/host-packages.sh setup|demo|test|bench|lint}

# binutils*: the disassemblers of the proof
# bubblewrap, mmdebstrap, uidmap: the sandbox tree and its namespaces
# dnf: the client of the install check
# dpkg-dev: source packages with the tarballs
# openssh-client, rsync: tmt in a guest
# qemu-*: the guests; qemu-utils: overlays of cloud images
# rpm, gnupg, gpgv: to read, sign and check packages
# sbsigntool: UEFI signatures
# spice-client-gtk: the real SPICE client
demo=(binutils binutils-aarch64-linux-gnu binutils-powerpc64le-linux-gnu binutils-s390x-linux-gnu bubblewrap
    ca-certificates debian-archive-keyring dnf dpkg-dev git gnupg gpgv mmdebstrap openssh-client qemu-system-arm
    qemu-system-misc qemu-system-ppc qemu-system-x86 qemu-utils rpm rsync sbsigntool spice-client-gtk uidmap xz-utils
    zstd)
demo_dnf=(binutils bubblewrap dnf git gnupg2 mock openssh-clients python3 qemu-img qemu-system-aarch64 qemu-system-ppc
    qemu-system-s390x qemu-system-x86 rpm-build rpm-sign rsync spice-gtk-tools xz zstd)
# chromium: the browser tests
# clang, gcc*, golang-go, lld, rustc: programs whose properties the tests know
# cpio, dosfstools, mtools: to check the archives and disks that we write
# e2fsprogs: a cloud image to boot
# gnupg-pkcs11-scd, opensc, softhsm2: a key in a token
extra_test=(chromium clang cpio createrepo-c dosfstools dwz e2fsprogs gcc gcc-aarch64-linux-gnu
    gcc-powerpc64le-linux-gnu gcc-s390x-linux-gnu gnupg-pkcs11-scd golang-go libc6-dev libc6-dev-arm64-cross
    libc6-dev-ppc64el-cross libc6-dev-s390x-cross lld mtools opensc rustc softhsm2)
# dnf-plugins-core: repoclosure
# gcc, lld: large files to disassemble, which are cc1 and the host's libLLVM
extra_bench=(dnf-plugins-core gcc lld)
extra_lint=(git shellcheck)
# Since Debian 13, QEMU's SPICE server is a separate package.
grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release || demo+=(qemu-system-modules-spice)

case $purpose in
    setup) wanted=() ;;
    demo) wanted=("${demo[@]}") ;;
    test) wanted=("${demo[@]}" "${extra_test[@]}") ;;
    bench) wanted=("${demo[@]}" "${extra_bench[@]}") ;;
    lint) wanted=("${extra_lint[@]}") ;;
    *) echo "host-packages: unknown purpose $purpose; there are: setup demo test bench lint" >&2; exit 2 ;;
esac
python=$(cd "$(dirname "$0")/.." && tools/interpreter.sh --needs)
mapfile -t -O ${#wanted[@]} wanted < <(printf '%s' "$python")

[ ${#wanted[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
    { : </dev/tty; } 2>/dev/null || as_root+=(-n) # without a terminal, a password cannot be typed
fi

# ask_administrator REASON COMMAND…
ask_administrator() {
    echo "host-packages: $1; ask an administrator to run:" >&2
    echo "  ${*:2}" >&2
    exit 2
}

if command -v apt-get >/dev/null; then
    missing=()
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && exit 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        ask_administrator "not root, and no sudo" apt-get install --no-install-recommends "${missing[@]}"
    fi
    echo "setup: installing ${missing[*]}"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { "${as_root[@]}" apt-get -q update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        if grep -qiE '^(sudo:|sorry, user)' "$log"; then
            ask_administrator "sudo refused" apt-get install --no-install-recommends "${missing[@]}"
        fi
        echo "host-packages: apt-get failed, see above; to repeat it by hand:" >&2
        echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 2
    fi
elif command -v dnf >/dev/null; then
    [ "$purpose" != setup ] || demo_dnf=(python3)
    [ -z "$python" ] || demo_dnf+=(gcc libxcrypt-devel python3-devel)
    case $purpose in test | bench | lint) demo_dnf+=(chromium cpio gcc ShellCheck) ;; esac
    rpm -q "${demo_dnf[@]}" >/dev/null 2>&1 || "${as_root[@]}" dnf install -y "${demo_dnf[@]}" ||
        ask_administrator "dnf could not install the missing packages" dnf install "${demo_dnf[@]}"
else
    echo "host-packages: this host has neither apt-get nor dnf; install by hand: ${wanted[*]}" >&2
    exit 2
fi
