# shellcheck shell=bash
# The steps of a package suite in a root guest. workers/lab/lifecycle.py writes one script for each step; the script
# calls a function of this file. The output is the detail of the case; the case passed if the function returns 0.
# The lists in /kitten/life have one package or path in each line.
rpm=/kitten/bin/rpm
life=/kitten/life
before=/kitten/life/before
database=/usr/lib/sysimage/rpm
export LC_ALL=C
set -o pipefail

# ------------------------------------------------------------------------------------------------------ transactions

# transaction -i|-U|-e LIST: runs one transaction; fails also if a scriptlet fails, for which rpm only prints a warning
transaction() {
    local output status
    # shellcheck disable=SC2046 # the names of packages and of their files have no blanks
    output=$("$rpm" "$1" $(<"$life/$2") 2>&1)
    status=$?
    [ -z "$output" ] || printf '%s\n' "$output"
    case $output in *'scriptlet failed'*) status=1 ;; esac
    restore_programs
    return "$status"
}

restore_programs() { # a package that replaced one of the guest's own programs may have removed it
    local program
    while read -r program; do
        [ -e "/usr/bin/$program" ] || busybox ln -s busybox "/usr/bin/$program"
    done <"$life/base"
    [ -e /usr/bin/sh ] || busybox ln -s bash /usr/bin/sh
}

install_tested() { # install_tested LIST: the first step
    mount -o remount,size=90% / # by default the root file system gets half of the memory
    list_paths >"$before"
    transaction -i "$1" && : >/run/installed
}

install_published() { # install_published LIST: removes all packages, then installs those of the list
    local names
    names=$("$rpm" -qa --qf '%{NAME}\n' | grep -vx kitten-guest)
    # shellcheck disable=SC2086
    [ -z "$names" ] || "$rpm" -e $names
    rm -f /run/installed
    transaction -i "$1" && : >/run/published
}

# upgrade_packages LIST GONE: from the published version to the one under test, which must remove the paths in GONE
upgrade_packages() {
    require_state published
    transaction -U "$1" && : >/run/installed
    check_removed "$2"
}

uninstall() { # uninstall NAMES OWNED
    require_state installed
    transaction -e "$1" || return
    check_removed "$2"
}

require_state() { # require_state installed|published: skips the step if that installation failed
    [ -e "/run/$1" ] && return
    echo "1..0 # skip not-installed: the installation failed"
    exit 0
}

# ------------------------------------------------------------------------------------------------------ files

list_paths() { # list_paths [TEST …]: prints the paths of the root file system, except the lab's own and rpm's database
    busybox find / -xdev \( -path /kitten -o -path "$database" \) -prune -o "$@" -print
}

exclude() { # exclude FILE …: prints the lines of standard input that are in none of the files
    awk 'FILENAME != "-" { known[$0]; next } !($0 in known)' "$@" -
}

# verify_files NAMES: checks type, mode, owner, digest and link target of each file, and all dependencies
verify_files() {
    require_state installed
    # Scriptlets and programs make %ghost files; a package has only their names.
    # shellcheck disable=SC2046
    "$rpm" -V --noghost $(<"$life/$1")
}

check_unlisted() { # check_unlisted ALL: fails if a new file below /usr or /opt is not in the list of a package
    local strays
    require_state installed
    strays=$(list_paths ! -type d | exclude "$before" "$life/$1") || return
    strays=$(sed -nE 's,^/(usr|opt)/,no package lists &,p' <<<"$strays")
    [ -z "$strays" ] || printf '%s\n' "$strays"
    [ -z "$strays" ]
}

# check_removed OWNED: fails if a path of the list still exists; a folder may exist if it is not empty
check_removed() {
    local paths path status=0
    paths=$(exclude "$before" <"$life/$1") || return
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

# check_libraries LOADER FILES: fails if the system's loader does not find a library that a file names
check_libraries() {
    local path output status=0
    require_state installed
    while IFS= read -r path; do
        # Not --list: it stops at the first missing library.
        if output=$(LD_TRACE_LOADED_OBJECTS=1 "$1" "$path" 2>&1) && [[ $output != *'not found'* ]]; then
            continue
        fi
        status=1
        sed -n "/not found/s|^[[:blank:]]*|$path: |p" <<<"$output"
        [[ $output == *'not found'* ]] || echo "$path: $output"
    done <"$life/$2"
    return "$status"
}

# ---------------------------------------------------------------------------------------------------- a package's tests

# run_test FOLDER SCRIPT SECONDS INTERPRETER [OPTION …]: runs one test script of a package in the tests' folder
run_test() {
    local folder=$1 script=$2 limit=$3 program=$4 hung status
    shift 4
    require_state installed
    if ! command -v "$program" >/dev/null; then
        echo "1..0 # skip no-interpreter: $program is not in the guest, and no package of the test has it"
        exit 0
    fi
    hung=/run/hung-${folder//\//-}-$script
    if [ -e "$hung" ]; then
        echo "1..0 # skip hung: it did not end in its first run"
        exit 0
    fi
    cd "$folder" || return
    # Tests may call rpm, so its folder is in PATH; last, so that a program of the package is found first.
    LC_ALL='' PATH=$PATH:/kitten/bin timeout -k 5 "$limit" "$program" "$@" "./$script" &
    wait "$!"
    status=$?
    kill -KILL -- "-$!" 2>/dev/null # the processes that it started in the background
    [ "$status" -ne 124 ] || : >"$hung"
    [ "$status" -ne 124 ] || echo "it did not end within $limit s"
    return "$status"
}
