#!/bin/sh
# A Debian package of what `make dist` has put into a folder: `packaging/deb.sh DIST_FOLDER OUT_FOLDER`.
# The program, its man pages and completions, a unit that runs as a user of its own, a configuration to start from that
# an upgrade leaves alone, the documents. It starts nothing: the configuration names no source yet. Prints the file.
set -eu
dist=$1 out=$2
here=$(cd "$(dirname "$0")/.." && pwd)
command -v dpkg-deb >/dev/null || { echo "packaging: there is no dpkg-deb on this machine: no Debian package" >&2; exit 3; }

version=$("$dist/xds-bridge" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D -m 755 "$dist/xds-bridge" "$root/usr/bin/xds-bridge"
install -D -m 640 "$dist/bridge.toml" "$root/etc/xds-bridge/bridge.toml"
chmod 750 "$root/etc/xds-bridge"

# The unit of the examples, with this package's paths and user.
mkdir -p "$root/usr/lib/systemd/system"
sed -e '/^# install\|^# systemctl/d' -e 's|/usr/local/bin/|/usr/bin/|' \
    -e 's/^DynamicUser=yes/User=xds-bridge\nGroup=xds-bridge/' \
    "$dist/examples/systemd/xds-bridge.service" | sed '/./,$!d' >"$root/usr/lib/systemd/system/xds-bridge.service"

for page in "$dist"/man/*.1; do
    install -D -m 644 "$page" "$root/usr/share/man/man1/$(basename "$page")"
done
gzip -9n "$root"/usr/share/man/man1/*.1
install -D -m 644 "$dist/completions/xds-bridge.bash" "$root/usr/share/bash-completion/completions/xds-bridge"
install -D -m 644 "$dist/completions/xds-bridge.zsh" "$root/usr/share/zsh/vendor-completions/_xds-bridge"
install -D -m 644 "$dist/completions/xds-bridge.fish" "$root/usr/share/fish/vendor_completions.d/xds-bridge.fish"

doc=$root/usr/share/doc/xds-bridge
mkdir -p "$doc"
cp -r "$dist/docs" "$dist/examples" "$dist/README.md" "$doc"
{ echo "xds-bridge: licensed under the Apache License, Version 2.0"; echo; cat "$dist/LICENSE"; } >"$doc/copyright"
gzip -9nc "$dist/CHANGELOG.md" >"$doc/changelog.gz"
[ ! -f "$dist/xds-bridge.cdx.json" ] || gzip -9nc "$dist/xds-bridge.cdx.json" >"$doc/xds-bridge.cdx.json.gz"
find "$doc" "$root/usr" -type d -exec chmod 755 {} +
find "$doc" -type f -exec chmod 644 {} +

# A program that is linked dynamically needs the C library that it was linked with, or a newer one.
depends="passwd"
if readelf -lW "$dist/xds-bridge" | grep -q INTERP; then
    libc=$(readelf -VW "$dist/xds-bridge" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -1)
    depends="$depends, libc6 (>= $libc), libgcc-s1"
fi

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: xds-bridge
Version: $version
Architecture: $architecture
Maintainer: the authors of xds-bridge <xds-bridge@localhost>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: $depends
Recommends: ca-certificates
Section: net
Priority: optional
Description: services of Consul and etcd for Envoy, by xDS
 Watches the services that are registered in an existing Consul or etcd, and
 serves them to Envoy and to gRPC clients as clusters, endpoints, routes and
 listeners. When the registry is away or suddenly lists less, Envoy keeps what
 it has until the change is confirmed.
CONTROL
echo /etc/xds-bridge/bridge.toml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$here/packaging/debian/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)

mkdir -p "$out"
file=$out/xds-bridge_${version}_$architecture.deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$root" "$file" >/dev/null
echo "$file"
