# SPDX-License-Identifier: Apache-2.0
# Shared by scripts/demo and scripts/test: what is missing gets installed, and everything else runs as an ordinary user.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "== $*" >&2; }

missing_packages() {
  local package why
  while read -r package why; do
    case "$package" in ''|'#'*) continue ;; esac
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || printf '%s\n' "$package"
  done < "$top/scripts/packages.txt"
}

# sudo is used here and nowhere else.
install_missing() {
  local missing sudo=
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  say "these Debian packages are missing (why: scripts/packages.txt):" $missing
  if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { say "install them as root, then run this again: apt-get install" $missing; exit 1; }
    say "installing them with sudo apt-get; nothing else here needs root"
  fi
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# Pinhole refuses to run VMs as root. Started by root (as in a container), this script goes on as user "pinhole", on a copy
# of the files in that user's home folder.
leave_root() {
  [ "$(id -u)" -eq 0 ] || return 0
  local user=pinhole home copy
  if ! id "$user" >/dev/null 2>&1; then
    say "creating the ordinary user \"$user\": nothing runs as root"
    useradd --create-home --shell /bin/bash "$user"
  fi
  grep -q "^$user:" /etc/subuid || usermod --add-subuids 100000-165535 "$user"
  grep -q "^$user:" /etc/subgid || usermod --add-subgids 100000-165535 "$user"
  home=$(getent passwd "$user" | cut -d: -f6)
  copy=$home/checkout
  say "going on as user \"$user\" in $copy"
  # The same place each time, so that the compiler cache finds its entries again; build/ stays.
  install -d -o "$user" -g "$user" "$copy"
  find "$copy" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  (cd "$top" && git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
     while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
     tar --null --files-from=- --create --file=-) |
    tar --extract --no-same-owner --file=- --directory="$copy"
  chown -R "$user:" "$copy"
  cd "$copy"
  exec runuser -u "$user" -- env -u XDG_RUNTIME_DIR -u XDG_DATA_HOME -u XDG_STATE_HOME -u XDG_CONFIG_HOME -u XDG_CACHE_HOME \
    HOME="$home" USER="$user" LOGNAME="$user" TMPDIR=/tmp PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    "$copy/scripts/$(basename "$0")" "$@"
}

check_subordinate_ids() {
  local user; user=$(id -un)
  if ! grep -q "^$user:" /etc/subuid || ! grep -q "^$user:" /etc/subgid; then
    say "user \"$user\" has no subordinate ids; image builds and workspaces need them"
    say "adding them with sudo usermod"
    sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$user"
  fi
}

# build PRESET [target…]
build() {
  local preset=$1; shift
  say "building ($preset)"
  (cd "$top" && cmake --preset "$preset" >"$top/build/$preset.configure.log" 2>&1) || { cat "$top/build/$preset.configure.log" >&2; exit 1; }
  cmake --build "$top/build/$preset" -- --quiet "$@"
}
