# What the tests of images have in common: sourced, never run.
#
# No image is pulled. Under the names of the bases that infra/Dockerfile has, there are stand-ins for them, made of Debian's
# packages and of the Rust that is installed here; the Dockerfile is built as it is. That proves that each of its steps
# works, that the binary has all that it is linked to, and what it needs of a system. It does not prove that those bases
# are what their stand-ins are: NVIDIA's has more in it, and Amazon Linux another C library, which is why the test looks
# at how new a one the binary asks for.
#
# All of it is below target/images: Debian, the stand-ins and what cargo keeps between builds stay there, images and
# containers go. Needs root, and podman, buildah, runc and debootstrap; installs those where there is apt.

home=$PWD/target/images
# vfs works where this does not, on file systems that cannot be stacked; it copies all of an image for each layer.
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}
export TMPDIR=$home/tmp # where buildah keeps its caches
storage=(--root "$home/storage" --runroot "$home/run")

podman() { command podman "${storage[@]}" --runtime runc "$@"; }
buildah() { command buildah "${storage[@]}" "$@"; }

failures=0

# check NAME COMMAND...: says whether the command succeeds; if not, also what it said. The first thing in it that fails
# ends it, for which it may be no condition.
check() {
    local name=$1 status
    shift
    set +e
    (set -e; "$@") >"$home/said" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        echo "ok: $name"
    else
        failures=$((failures + 1))
        echo "FAILED: $name"
        sed 's/^/    /' "$home/said"
    fi
}

# has TEXT WHOLE: whether there is such a text in the whole, which is shown where not.
has() { [[ $2 == *"$1"* ]] || { echo "no \`$1\` in: $2"; return 1; }; }

# is EXPECTED FOUND
is() { [[ $1 == "$2" ]] || { echo "it is \`$2\`, not \`$1\`"; return 1; }; }

# until_so COMMAND...: waits for its success, for half a minute at most.
until_so() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "it never was so: $*"
    return 1
}

# The images of bases and the version of Rust, as infra/Dockerfile has them.
default_of() {
    (
        eval "$(sed -n 's/^ARG \([A-Z_]*=.*\)/\1/p' infra/Dockerfile)"
        echo "${!1}"
    )
}

have_tools() {
    local tool missing=()
    ((EUID == 0)) || { echo "error: containers are built and run as root here" >&2; exit 1; }
    for tool in podman buildah runc debootstrap; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
}

# Debian with what the Rust images have of it. Its certificates are those of this machine: a proxy may have one of its own.
debian() {
    local root=$home/debian
    if [[ ! -e $root/complete ]]; then
        rm -rf "$root"
        debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,g++,python3 \
            "$(default_of OS_VERSION)" "$root" >"$home/debootstrap.log"
        rm -rf "$root"/var/cache/apt/archives/*.deb
        touch "$root/complete"
    fi
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
}

# stand_in NAME FOLDER [OPTION OF IMPORT...]
stand_in() {
    local name=$1 folder=$2
    shift 2
    podman image exists "$name" || tar -C "$folder" --one-file-system -c . | podman import --quiet "$@" - "$name"
}

# For the image of the compiler: Debian, and rustup with the Rust of this machine where its images have them.
compiler() {
    local root=$home/compiler version sysroot
    podman image exists "$(default_of BUILD_IMAGE)" && return
    version=$(default_of RUST_VERSION)
    sysroot=$(rustc "+$version" --print sysroot)
    rm -rf "$root"
    cp -a "$home/debian" "$root"
    mkdir -p "$root"/usr/local/{cargo/bin,rustup/toolchains}
    cp -a "$sysroot" "$root/usr/local/rustup/toolchains/$version-x86_64-unknown-linux-gnu"
    rm -rf "$root"/usr/local/rustup/toolchains/*/share
    cp -L "$(command -v rustup)" "$root/usr/local/cargo/bin/"
    ln -s rustup "$root/usr/local/cargo/bin/cargo"
    ln -s rustup "$root/usr/local/cargo/bin/rustc"
    printf 'version = "12"\ndefault_toolchain = "%s-x86_64-unknown-linux-gnu"\n' "$version" \
        >"$root/usr/local/rustup/settings.toml"
    stand_in "$(default_of BUILD_IMAGE)" "$root" --change 'ENV CARGO_HOME=/usr/local/cargo' \
        --change 'ENV RUSTUP_HOME=/usr/local/rustup' \
        --change 'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    rm -rf "$root"
}

# For the bases: the libraries of C that distroless/cc has, certificates, and a user. There is nothing to run.
bases() {
    local root=$home/base libraries=usr/lib/x86_64-linux-gnu library
    rm -rf "$root"
    mkdir -p "$root"/{etc/ssl/certs,home/nonroot,tmp,usr/lib64,$libraries}
    ln -s usr/lib usr/lib64 "$root/"
    chmod 1777 "$root/tmp"
    for library in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libgcc_s.so.1 libstdc++.so.6 libresolv.so.2; do
        cp -L "$home/debian/$libraries/$library" "$root/$libraries/"
    done
    ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$root/usr/lib64/"
    cp "$home/debian/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/"
    echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
    stand_in "$(default_of BASE_IMAGE)" "$root"
    stand_in "$(default_of CUDA_IMAGE)" "$root"
    # AWS's has the emulator of its runtime's interface in it.
    install -D "$(emulator)" "$root/usr/local/bin/aws-lambda-rie"
    stand_in "$(default_of LAMBDA_IMAGE)" "$root"
    rm -rf "$root"
}

# AWS's runtime interface emulator, from the package of its command line.
emulator() {
    local path=$home/aws-lambda-rie
    if [[ ! -x $path ]]; then
        python3 -m pip --quiet download --no-deps --dest "$home/sam" aws-sam-cli==1.170.0 >&2
        python3 -m zipfile -e "$home"/sam/*.whl "$home/sam"
        install "$home/sam/samcli/local/rapid/aws-lambda-rie-x86_64" "$path"
        rm -rf "$home/sam"
    fi
    echo "$path"
}

# build TARGET [OPTION...]: the target of the Dockerfile as it is, as image firstlight:TARGET.
build() {
    local target=$1
    shift
    buildah bud --quiet --isolation chroot --layers --pull-never --format docker --file infra/Dockerfile \
        --target "$target" --tag "firstlight:$target" "$@" . >"$home/build.log" 2>&1 ||
        { tail -n 40 "$home/build.log" >&2; return 1; }
}

# run NAME OPTION... IMAGE [ARGUMENT...]: a container with as few rights as there are, in the background. The limits are
# those that a machine without the capability to raise them can set.
run() {
    local name=$1
    shift
    podman run --quiet --detach --name "$name" --network host --read-only --cap-drop ALL \
        --security-opt no-new-privileges --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$@" >/dev/null
}

# Stops what was begun; the stand-ins and the caches stay.
clean() {
    podman rm --all --force --time 0 >/dev/null 2>&1 || true
    buildah rm --all >/dev/null 2>&1 || true
    podman images --format '{{.Repository}}:{{.Tag}}' | grep '^localhost/firstlight:' |
        xargs --no-run-if-empty podman "${storage[@]}" rmi --force >/dev/null 2>&1 || true
    podman image prune --force >/dev/null 2>&1 || true
    ((${#started[@]} == 0)) || kill "${started[@]}" 2>/dev/null || true
}

started=()
mkdir -p "$home/tmp"
have_tools
trap clean EXIT
debian
compiler
bases
