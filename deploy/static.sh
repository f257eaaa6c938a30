#!/bin/sh
# Builds a Millrace that needs nothing of the system it runs on: no C library, no loader, no /dev.
#
#   deploy/static.sh          puts it at target/static/millrace
#   deploy/static.sh FILE     puts it there
#
# For musl where Rust has that target (`rustup target add x86_64-unknown-linux-musl`; Alpine has no
# other), else with glibc linked in, which every Linux with glibc's static library can do. It has
# symbols for backtraces, and no debug information: that is three quarters of a release build.

set -eu
caller=$PWD
cd "$(dirname "$0")/.."

into=${1:-${CARGO_TARGET_DIR:-target}/static/millrace}
case $into in
  /*) ;;
  *) [ $# = 0 ] || into=$caller/$into ;;
esac

host=$(rustc -vV | sed -n 's/^host: //p')
musl=${host%%-*}-unknown-linux-musl
built=${CARGO_TARGET_DIR:-target}
set -- --release --locked -p millrace-cli --bin millrace
if [ -d "$(rustc --print target-libdir --target "$musl")" ]; then
  echo "static: $musl" >&2
  set -- "$@" --target "$musl"
  built=$built/$musl
else
  echo "static: $host with its C library linked in" >&2
fi

# Said for the last step alone, so that the dependencies of a release build are taken as they are.
cargo rustc "$@" -- -C target-feature=+crt-static -C strip=debuginfo
install -D -m 755 "$built/release/millrace" "$into"
