#!/usr/bin/env bash
# Installs what is missing for a command of the Makefile, and says what it installs before it does. Quick when nothing is missing.
#
#   tests/setup.sh run|demo|test|bench
#
#   run   what the app and guests on this computer need
#   demo  and what shows the window without a display, and a throw-away SSH server
#   test  and what the tests need
#   bench and what the guests of the benchmarks run
#
# Debian and Ubuntu: packages through apt-get, with sudo unless root. Elsewhere it names the packages that are missing and stops.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

readonly RUST_MIN=90 NODE_MIN=18
goal=${1:-run}
case $goal in run | demo | test | bench) ;; *) sed -n '2,12p' "$0" >&2; exit 2 ;; esac

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$@" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
is_debian() { has apt-get && has dpkg-query; }

# --- Packages ---------------------------------------------------------------------------------------------------------------
# A package is missing when what it is wanted for is missing: who has the program from elsewhere keeps it.

node_is_recent() {
  has node && has npm && [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge "$NODE_MIN" ]
}

# What reads C headers for Rust, and the headers that a compiler brings along. libclang-cpp is another library.
has_libclang() {
  [ -z "${LIBCLANG_PATH:-}" ] || return 0
  { compgen -G '/usr/lib*/llvm-*/lib/libclang[.-][s0-9]*' || compgen -G '/usr/lib*/*/libclang[.-][s0-9]*'; } >/dev/null &&
    compgen -G '/usr/lib*/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

# Prints the missing packages by Debian's names, one a line.
missing_packages() {
  has cc && has c++ && has make || echo build-essential
  # The solver HiGHS, which finds the best plans, is built from its C++ sources.
  has cmake || echo cmake
  has_libclang || echo libclang-dev
  has pkg-config || echo pkg-config
  pkg-config --exists webkit2gtk-4.1 2>/dev/null || echo libwebkit2gtk-4.1-dev
  has qemu-system-x86_64 || echo qemu-system-x86
  # The network of a guest that runs as a microVM.
  has passt || echo passt
  [ -x /bin/busybox ] || echo busybox-static
  has xz || echo xz-utils
  has zstd || echo zstd
  has curl || has cargo || printf '%s\n' curl ca-certificates
  if ! node_is_recent; then
    # The packages of NodeSource hold npm as well.
    has node || echo nodejs
    has npm || echo npm
  fi
  [ "$goal" = run ] && return
  has WebKitWebDriver || echo webkit2gtk-driver
  has Xvfb || echo xvfb
  has xauth || echo xauth
  has sshd || echo openssh-server
  has ssh-keygen || echo openssh-client
  has ip || echo iproute2
  [ -d /usr/share/fonts/opentype/noto ] || fc-list 2>/dev/null | grep -qi cjk || echo fonts-noto-cjk
  [ "$goal" = demo ] && return
  has xdotool || echo xdotool
  has chromium || has chromium-browser || has google-chrome || echo chromium
  has cpio || echo cpio
  # The Debian that the lab's guests boot from a disk of their own.
  has debootstrap || echo debootstrap
  has qemu-img || echo qemu-utils
  has depmod || echo kmod
  has dnsmasq || echo dnsmasq-base
  has mkfs.ext4 || echo e2fsprogs
  has strip || echo binutils
  [ "$goal" = test ] && return
  has fio || echo fio
  has iperf3 || echo iperf3
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

readonly LISTS=/var/lib/apt/lists LISTS_DAYS_MAX=7

# A fresh container has no lists at all, and old ones name packages that the mirrors no longer have.
refresh_lists_if_old() {
  if compgen -G "$LISTS/*Packages*" >/dev/null && [ -n "$(find $LISTS -maxdepth 0 -mtime -$LISTS_DAYS_MAX)" ]; then
    return
  fi
  say "apt's package lists are missing or older than $LISTS_DAYS_MAX days: apt-get update"
  as_root apt-get -q update || say 'apt-get update failed; going on with what is there'
}

install_packages() {
  local packages=("$@")
  [ "$(id -u)" -eq 0 ] || has sudo || stop "missing packages: ${packages[*]}" \
    "run as root: apt-get install --no-install-recommends ${packages[*]}"
  say "installing with apt-get: ${packages[*]}"
  case " ${packages[*]} " in *' openssh-server '*)
    say 'note: the package openssh-server also starts an SSH server on port 22; only its program is needed here, and to switch' \
      'the server off is: sudo systemctl disable --now ssh' ;;
  esac
  refresh_lists_if_old
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${packages[@]}")
  as_root "${install[@]}" </dev/null && return
  say 'apt-get failed: once more with fresh package lists'
  as_root apt-get -q update
  as_root "${install[@]}" </dev/null
}

# A second time: what apt installs may take the place of what was there, as a distribution's QEMU does with a newer qemu-utils from backports.
for round in first second; do
  packages=$(missing_packages)
  [ -n "$packages" ] || break
  mapfile -t packages <<<"$packages"
  is_debian || stop "this is no Debian or Ubuntu, and these packages (by Debian's names) are missing: ${packages[*]}" \
    'install them with your package manager and start again'
  if [[ " ${packages[*]} " == *' chromium '* ]] && grep -q '^ID=ubuntu' /etc/os-release; then
    stop "Ubuntu's chromium is a snap, which is not installed from here: sudo snap install chromium"
  fi
  [ "$round" = first ] || say 'something that was there has gone with what was installed'
  install_packages "${packages[@]}"
done
node_is_recent || stop "Node.js $NODE_MIN or newer with npm is needed; this is $(node --version 2>/dev/null || echo none)" \
  'a newer one: https://nodejs.org/en/download'

# --- Rust -------------------------------------------------------------------------------------------------------------------

rust_is_recent() {
  local version
  version=$(cargo --version 2>/dev/null) || return 1
  [[ $version =~ ^cargo\ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= RUST_MIN))
}

install_rust() {
  local installer
  if has rustup; then
    say "installing Rust's stable toolchain with rustup"
    rustup toolchain install stable --profile minimal --component rustfmt --component clippy
    rustup default stable
    return
  fi
  say "installing Rust into ~/.cargo and ~/.rustup with the installer of https://rustup.rs (the distribution's is older than 1.$RUST_MIN)"
  installer=$(mktemp)
  curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs ||
    stop 'the installer cannot be fetched: is there a way to the Internet?' \
      "or install Rust 1.$RUST_MIN or newer by other means: https://www.rust-lang.org/tools/install"
  sh "$installer" -y --no-modify-path --profile minimal --component rustfmt --component clippy
  rm -f "$installer"
}

rust_is_recent || install_rust
rust_is_recent || stop "Rust 1.$RUST_MIN or newer is needed; this is $(cargo --version 2>/dev/null || echo none)"

if [ "$goal" = test ]; then
  cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 || {
    say 'installing rustfmt and clippy with rustup'
    rustup component add rustfmt clippy
  }
  has cargo-nextest || {
    say 'installing the test runner: cargo install cargo-nextest --locked (some minutes, once)'
    cargo install cargo-nextest --locked
  }
fi

# --- npm --------------------------------------------------------------------------------------------------------------------

install_modules() {
  local folder=$1
  [ -f "$folder/package-lock.json" ] || return 0
  [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && return
  say "installing the npm packages of $folder"
  # Playwright drives the Chromium that is installed; it need not fetch one.
  (cd "$folder" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund)
  touch "$folder/node_modules/.package-lock.json"
}

install_modules ui
case $goal in test | bench) install_modules tests/e2e ;; esac

# Tiny Linux is made from a package that apt has to know; making it is the agent's work.
if [ "$goal" != run ]; then
  state=${CARGO_TARGET_DIR:-target}/tests/tiny-image
elif [ "$(id -u)" -eq 0 ]; then
  state=${HOST_RUNNER_STATE_DIR:-/var/lib/millpond}
else
  state=${HOST_RUNNER_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/millpond}
fi
if is_debian && [ ! -e "$state/images/manifests/tiny-linux.json" ]; then
  refresh_lists_if_old
fi
