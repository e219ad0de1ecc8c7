#!/bin/sh
# Makes .venv with everything the shop and its tests need. Run from the top folder; `make` does, when due.
set -eu

suits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=
for candidate in python3.13 python3.12 python3.11 python3; do
    if suits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "Smartfloor needs Python 3.11 or newer, and none is on the PATH. Install it (Debian, Ubuntu:" >&2
    echo "apt-get install python3 python3-venv), then run this again." >&2
    exit 1
fi

if ! suits .venv/bin/python; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian has it in a package of its own
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        echo "Installing the Debian package $package"
        as_root=
        [ "$(id -u)" = 0 ] || as_root=sudo
        $as_root apt-get update -qq
        $as_root apt-get install -y -qq "$package"
    fi
    "$python" -m venv --clear .venv
fi

echo "Installing Smartfloor into .venv (about a minute the first time)"
.venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
