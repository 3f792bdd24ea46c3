#!/bin/sh
# Builds the images of the examples (examples/images/*) from Debian packages, without a registry, and gives them to Docker.
#
#   build-images.sh [--unpack-only] [NAME…]
#
# Packages come from the mirrors that apt uses on this host; they are unpacked into one file, which the Dockerfile adds. What
# is there already is not made again; remove $IMAGES_CACHE (target/images) to have newer packages. --unpack-only asks Docker
# nothing: the rest can be done later, where there is no network.
set -eu
cd "$(dirname "$0")/.."
recipes=examples/images
cache=${IMAGES_CACHE:-target/images}
prefix=localhost/netloom

fail() {
    echo "build-images: $*" >&2
    exit 1
}

# The release of this host, if it is one of those that have the packages.
origin=Debian
suite=bookworm
# shellcheck source=/dev/null
case "$(. /etc/os-release && echo "$ID")" in
debian) suite=$(. /etc/os-release && echo "$VERSION_CODENAME") ;;
ubuntu) origin=Ubuntu suite=$(. /etc/os-release && echo "$VERSION_CODENAME") ;;
esac

# Its mirrors, as apt knows them. Those of others (Docker's, Node's) are left out.
sources() {
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' "Created-By: Packages" "Origin: $origin" \
        2>/dev/null | grep -F " $suite" | sort -u || true
}

packages() {
    sed -e 's/#.*//' -e '/^ *$/d' "$recipes/$1/packages" | paste -sd,
}

# What is left away of the packages, but for licences; and the links of a merged /usr, which newer releases take for granted.
# shellcheck disable=SC2016 # the directory is known to mmdebstrap
trim='cd "$1"
    rm -rf usr/share/locale usr/share/man usr/share/info usr/share/perl* usr/bin/perl* usr/lib/*/perl*
    find usr/share/doc -type f ! -name copyright -delete
    for directory in bin sbin lib lib64; do
        [ -e $directory ] || [ ! -e usr/$directory ] || ln -s usr/$directory $directory
    done'

# What the unpacked packages depend on, and what the image does.
contents() {
    echo "$origin $suite $(uname -m) $(packages "$1") $trim"
}
revision() {
    { contents "$1" && cat "$recipes/$1/"*; } | sha256sum | cut -c1-16
}

# Unpacks the packages of an image into $cache/NAME/rootfs.tar, unless they are there. No maintainer script runs. Dates are
# those of the packages, or this one: the same packages give the same file.
unpack() {
    directory=$cache/$1
    [ "$(cat "$directory/contents" 2>/dev/null)" != "$(contents "$1")" ] || return 0
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
    echo "unpacking packages for $prefix/$1:1" >&2
    rm -rf "$directory"
    mkdir -p "$directory"
    sources=$(sources)
    echo "$sources" | SOURCE_DATE_EPOCH=1700000000 mmdebstrap --quiet --variant=extract --format=tar \
        --include="$(packages "$1")" --extract-hook="$trim" "$suite" "$directory/rootfs.tar" ${sources:+-} ||
        fail "the packages of $1 cannot be had (see above); does \`apt-get update\` work here?"
    contents "$1" >"$directory/contents"
}

# Builds an image, unless Docker has just that one.
build() {
    name=$prefix/$1:1
    label=org.opencontainers.image.revision
    revision=$(revision "$1")
    if [ "$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$name" 2>/dev/null)" = "$revision" ]; then
        echo "$name is there" >&2
        return 0
    fi
    unpack "$1"
    cp "$recipes/$1/"* "$cache/$1"
    # Builders differ in what they print where; it is of interest if they fail.
    docker build --network none --label "$label=$revision" --tag "$name" "$cache/$1" >"$cache/$1.log" 2>&1 || {
        cat "$cache/$1.log" >&2
        fail "Docker cannot build $name (see above)"
    }
    echo "built $name" >&2
}

action=build
if [ "${1:-}" = --unpack-only ]; then
    action=unpack
    shift
fi
[ $# -gt 0 ] || set -- "$recipes"/*/
for name in "$@"; do
    [ -e "$recipes/$(basename "$name")/Dockerfile" ] ||
        fail "there is no $recipes/$name; there are: $(cd "$recipes" && echo *)"
done
if [ "$action" = build ]; then
    command -v docker >/dev/null || fail "docker is missing: apt-get install docker.io"
    # shellcheck disable=SC2116,SC2086 # one line of it
    said=$(docker version --format '{{.Server.Version}}' 2>&1) ||
        fail "Docker does not answer ($(echo $said)); start it (systemctl start docker), or say in DOCKER_HOST where it is"
fi
mkdir -p "$cache"
# What sudo makes here is the user's to remove.
[ -z "${SUDO_UID:-}" ] || trap 'chown -R "$SUDO_UID:$SUDO_GID" "$cache"' EXIT
exec 9>"$cache/.lock"
flock 9
for name in "$@"; do
    "$action" "$(basename "$name")"
done
