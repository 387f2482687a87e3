#!/bin/sh
# Make a virtual environment: make_venv.sh PYTHON FOLDER
#
# Debian keeps venv and ensurepip in a package of their own; where they are missing it is installed if that needs no
# password, else its name is printed.
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null 2>&1; then
    echo "No $python on this machine. On Debian: apt-get install python3 python3-venv. Elsewhere: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Maskgate needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Name another: make PYTHON=python3.12" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    echo "$python has no venv; installing $package"
    if ! { $as_root apt-get install -y -qq "$package" || { $as_root apt-get update -qq && $as_root apt-get install -y -qq "$package"; }; } >/dev/null 2>&1; then
        echo "It could not be installed from here. Run: apt-get install $package (as root), then make again." >&2
        exit 1
    fi
fi
rm -rf "$folder"
"$python" -m venv "$folder"
