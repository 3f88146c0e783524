# shellcheck shell=sh
# Where things are, for the scripts beside this file (sourced, not run). Root keeps everything below one directory that
# other users can read, because its checkout often is not; an ordinary user keeps it in the checkout.
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ "$(id -u)" = 0 ]; then
    home_dir=/var/lib/pyman-dev
    tree=$home_dir/tree # a copy of the checkout
    cache=/var/cache/pyman-test
else
    home_dir=$checkout
    tree=$checkout
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/pyman-test
fi
venv=$home_dir/.venv
test_user=pymantest         # with subordinate ids
test_user_nosub=pymannosub  # without

say() { printf 'pyman: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

# as USER COMMAND...: by root only; a clean environment, none of root's.
as() {
    user=$1 uid=$(id -u "$1")
    shift
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --reset-env \
        env XDG_RUNTIME_DIR="/run/user/$uid" PATH="$venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
        LANG=C.UTF-8 PYMAN_TEST_CACHE="$cache" PYTHONDONTWRITEBYTECODE=1 \
        HYPOTHESIS_STORAGE_DIRECTORY="/tmp/pyman-hypothesis-$uid" ${CI:+CI="$CI"} "$@"
}
