#!/bin/sh
# Starts pyman's interpreter without `site` (-S, 3 ms) and blind to PYTHON* variables and the working directory (-I).
# pip rewrites `#!python` without flags, so the command is this script; dash costs 1 ms. It serves a venv, pipx's link to
# one, a system or user prefix, an editable install and a bare checkout.
self=$0
[ -L "$self" ] && self=$(command -p readlink -f -- "$self")
bin=${self%/*}
main=
for found in "$bin"/../lib/python3*/*-packages/pyman/__main__.py; do
    [ -f "$found" ] && main=$found python=${found#"$bin"/../lib/}
done
[ -n "$main" ] || for found in "$bin"/../lib/python3*/*-packages/_pyman.pth; do
    # An editable install: the first line of the .pth file is the checkout.
    [ -f "$found" ] && read -r checkout <"$found" &&
        main=$checkout/contrib/launcher/pyman/__main__.py python=${found#"$bin"/../lib/}
done
if [ -z "$main" ]; then
    # A bare checkout; contrib/setup puts its libraries into .venv.
    main=$bin/pyman/__main__.py python=python3
    [ -x "$bin/../../.venv/bin/python3" ] && bin=$bin/../../.venv/bin
fi
python=${python%%/*}
for interpreter in "$bin/$python" "/usr/bin/$python" "/usr/local/bin/$python"; do
    [ -x "$interpreter" ] && exec "$interpreter" -I -S -X utf8 "$main" "$@"
done
interpreter=$(command -v "$python") && exec "$interpreter" -I -S -X utf8 "$main" "$@"
echo "Error: cannot start pyman: there is no $python (install pyman again, with a Python that exists)" >&2
exit 125
