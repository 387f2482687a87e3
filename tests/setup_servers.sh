#!/bin/sh
# Install Debian packages that tests and benchmarks start for themselves: setup_servers.sh PACKAGE...
#
# Known packages: redis-server, postgresql, nginx, wrk. What is there already is left alone, running or not. What is
# installed here is kept from starting as a service, now and at the next boot: the tests start servers of their own on
# free ports. Where nothing may be installed, this says what to install and ends well: the tests that need the missing
# server are then left out by name.
set -eu

present() {
    case $1 in
        postgresql) command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/bin/$1" ] ;;
    esac
}

missing=""
for package in "$@"; do
    present "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

give_up() {
    echo "Not on this machine, and not installed from here ($1):$missing"
    echo "To have them: apt-get install$missing (as root). Going on without."
    exit 0
}

as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || give_up "neither root nor sudo without a password"
    as_root="sudo -n"
fi
command -v apt-get >/dev/null 2>&1 || give_up "no apt-get"

# Debian's own way to say that a package may not start its service: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi

echo "Installing from Debian:$missing"
log=$(mktemp)
install() {
    # shellcheck disable=SC2086 - a list of package names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1
}
if ! install && ! { $as_root apt-get update -qq >"$log" 2>&1 && install; }; then
    tail -n 3 "$log"
    rm -f "$log"
    give_up "apt-get failed, see above"
fi
rm -f "$log"

if [ -d /run/systemd/system ]; then
    for service in redis-server postgresql nginx; do
        case "$missing " in *" $service "*) $as_root systemctl disable --quiet "$service" || true ;; esac
    done
fi
