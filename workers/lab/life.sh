# shellcheck shell=bash
# The steps of a package's life in a root guest; each is called by a script of its own (workers/lab/lifecycle.py). What a step
# prints is the detail of its case, and it holds when it returns 0. The lists in /kitten/life have a package or path per line.
rpm=/kitten/bin/rpm
life=/kitten/life
before=/kitten/life/before
database=/usr/lib/sysimage/rpm
export LC_ALL=C
set -o pipefail

# ------------------------------------------------------------------------------------------------------ transactions

transaction() { # transaction -i|-U|-e LIST: one transaction; a scriptlet that fails is no more than a warning to rpm itself
    local said status
    # shellcheck disable=SC2046 # the names of packages and of their files have no blanks
    said=$("$rpm" "$1" $(<"$life/$2") 2>&1)
    status=$?
    [ -z "$said" ] || printf '%s\n' "$said"
    case $said in *'scriptlet failed'*) status=1 ;; esac
    mends
    return "$status"
}

mends() { # a package that had replaced one of the guest's own programs may have taken it along
    local program
    while read -r program; do
        [ -e "/usr/bin/$program" ] || busybox ln -s busybox "/usr/bin/$program"
    done <"$life/base"
    [ -e /usr/bin/sh ] || busybox ln -s bash /usr/bin/sh
}

installs() { # installs LIST: the first step
    mount -o remount,size=90% / # the kernel gives the root half of the memory
    listed >"$before"
    transaction -i "$1" && : >/run/installed
}

installs_published() { # installs_published LIST: on a system without any package of before
    local names
    names=$("$rpm" -qa --qf '%{NAME}\n' | grep -vx kitten-guest)
    # shellcheck disable=SC2086
    [ -z "$names" ] || "$rpm" -e $names
    rm -f /run/installed
    transaction -i "$1" && : >/run/published
}

upgrades() { # upgrades LIST GONE: the published version to the one under test, which leaves nothing of what is no longer listed
    needs published
    transaction -U "$1" && : >/run/installed
    left "$2"
}

uninstalls() { # uninstalls NAMES OWNED
    needs installed
    transaction -e "$1" || return
    left "$2"
}

needs() { # needs installed|published: or the step has nothing to look at
    [ -e "/run/$1" ] && return
    echo "1..0 # skip not-installed: the installation failed"
    exit 0
}

# ------------------------------------------------------------------------------------------------------ what is there

listed() { # listed [TEST …]: paths of the root file system, but for the lab's own and rpm's database
    busybox find / -xdev \( -path /kitten -o -path "$database" \) -prune -o "$@" -print
}

without() { # without FILE …: the lines of standard input that are in none of the files
    awk 'FILENAME != "-" { known[$0]; next } !($0 in known)' "$@" -
}

verifies() { # verifies NAMES: each file's type, mode, owner, digest and link target, and what the packages require
    needs installed
    # Ghosts are made by scriptlets and programs, not installed: theirs is no more than a name.
    # shellcheck disable=SC2046
    "$rpm" -V --noghost $(<"$life/$1")
}

owned() { # owned ALL: below /usr and /opt nothing has appeared that no package lists
    local strays
    needs installed
    strays=$(listed ! -type d | without "$before" "$life/$1") || return
    strays=$(sed -nE 's,^/(usr|opt)/,no package lists &,p' <<<"$strays")
    [ -z "$strays" ] || printf '%s\n' "$strays"
    [ -z "$strays" ]
}

left() { # left OWNED: nothing that was owned is there; a folder may be, where something else lies in it
    local paths path status=0
    paths=$(without "$before" <"$life/$1") || return
    while IFS= read -r path; do
        if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then
            echo "left behind: $path"
            status=1
        elif [ -d "$path" ] && [ -z "$(ls -A "$path")" ]; then
            echo "left behind: $path, an empty folder"
            status=1
        fi
    done <<<"$paths"
    return "$status"
}

loads() { # loads LOADER FILES: the system's loader finds each library that a file names
    local path said status=0
    needs installed
    while IFS= read -r path; do
        # Not --list, which ends at the first that is missing.
        if said=$(LD_TRACE_LOADED_OBJECTS=1 "$1" "$path" 2>&1) && [[ $said != *'not found'* ]]; then
            continue
        fi
        status=1
        sed -n "/not found/s|^[[:blank:]]*|$path: |p" <<<"$said"
        [[ $said == *'not found'* ]] || echo "$path: $said"
    done <"$life/$2"
    return "$status"
}

# ---------------------------------------------------------------------------------------------------- a package's tests

own() { # own FOLDER SCRIPT SECONDS INTERPRETER [OPTION …]: one test script of a package, from the folder of all of them
    local folder=$1 script=$2 limit=$3 program=$4 hung status
    shift 4
    needs installed
    if ! command -v "$program" >/dev/null; then
        echo "1..0 # skip no-interpreter: $program is not in the guest, and no package of the test brings it"
        exit 0
    fi
    hung=/run/hung-${folder//\//-}-$script
    if [ -e "$hung" ]; then
        echo "1..0 # skip hung: it did not end the first time"
        exit 0
    fi
    cd "$folder" || return
    # For tests that ask what is installed; after whatever the package itself brings.
    LC_ALL='' PATH=$PATH:/kitten/bin timeout -k 5 "$limit" "$program" "$@" "./$script" &
    wait "$!"
    status=$?
    kill -KILL -- "-$!" 2>/dev/null # what it has started in the background
    [ "$status" -ne 124 ] || : >"$hung"
    [ "$status" -ne 124 ] || echo "it did not end within $limit s"
    return "$status"
}
