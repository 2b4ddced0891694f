#!/usr/bin/env bash
# Installs what is missing of: install.sh [compiler] [postgres] [redis] [browser] [python] [make] [haproxy] [nginx] [prometheus] [faketime]
#              [docker] [debootstrap] [curl]
#
# Uses apt as root or through a sudo that asks for no password; otherwise says exactly what to install, and ends with 1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

has() {
    command -v "$1" >/dev/null
}

is_present() {
    case $1 in
        compiler) has cc ;;
        make) has make ;;
        # Debian keeps servers off the PATH. Which of them will do is looked at by who starts one.
        postgres) has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null ;;
        redis) has redis-server ;;
        browser) { has chromium || has chromium-browser || has google-chrome; } && has chromedriver ;;
        haproxy) [ -x /usr/sbin/haproxy ] || has haproxy ;;
        nginx) [ -x /usr/sbin/nginx ] || has nginx ;;
        prometheus) has promtool ;;
        faketime) has faketime ;;
        curl) has curl ;;
        docker) [ -x /usr/sbin/dockerd ] ;;
        debootstrap) [ -x /usr/sbin/debootstrap ] ;;
        python) python3 -c 'import ensurepip, venv, ssl' 2>/dev/null ;;
        *) die "cannot install '$1'" ;;
    esac
}

is_ubuntu() {
    grep -qs '^ID=ubuntu' /etc/os-release
}

# A browser without any font lays out boxes of zero width. Ubuntu has Chromium as a snap behind these package names.
packages_for() {
    case $1 in
        compiler) echo gcc libc6-dev ;;
        make) echo make ;;
        postgres) echo postgresql ;;
        redis) echo redis-server ;;
        browser)
            if is_ubuntu; then
                echo chromium-browser chromium-chromedriver fonts-dejavu-core
            else
                echo chromium chromium-driver fonts-dejavu-core
            fi
            ;;
        python) echo python3 python3-venv ;;
        curl | haproxy | prometheus | faketime | debootstrap) echo "$1" ;;
        nginx) echo nginx-light ;;
        docker) echo docker.io ;;
    esac
}

# Run as root. The packages' own services are not wanted: no cluster is created, and nothing is started while dpkg runs.
# shellcheck disable=SC2016 # expanded by the shell that runs it
apt_install='
    set -eu
    cleanup=
    trap "rm -f \$cleanup" EXIT
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        cleanup="$cleanup /usr/sbin/policy-rc.d"
    fi
    mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/mapleai-install.conf
    cleanup="$cleanup /etc/postgresql-common/createcluster.d/mapleai-install.conf"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -q || echo "apt-get update failed; trying with the lists at hand" >&2
    apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@"
'

missing=() packages=()
for what in "$@"; do
    if ! is_present "$what"; then
        missing+=("$what")
        read -ra names <<<"$(packages_for "$what")"
        packages+=("${names[@]}")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! has apt-get || { [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; }; then
    {
        echo "Missing here: ${missing[*]}. Install it and run the command again:"
        if has apt-get; then
            echo "    sudo apt-get update && sudo apt-get install -y ${packages[*]}"
        else
            echo "    with your package manager, what Debian calls: ${packages[*]}"
        fi
    } >&2
    exit 1
fi

echo "Installing ${packages[*]} (log: $MAPLE_CACHE/apt.log)"
mkdir -p "$MAPLE_CACHE"
"${as_root[@]}" sh -c "$apt_install" sh "${packages[@]}" </dev/null >"$MAPLE_CACHE/apt.log" 2>&1 || {
    tail -n 20 "$MAPLE_CACHE/apt.log" >&2
    die "apt could not install ${packages[*]}"
}
for what in "${missing[@]}"; do
    is_present "$what" || die "$what is still missing after installing ${packages[*]}"
done
