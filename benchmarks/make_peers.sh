#!/usr/bin/env bash
# Makes an environment per old peer under .venv-peers/ (git-ignored), with exact versions.
#
#     benchmarks/make_peers.sh                    all of them
#     benchmarks/make_peers.sh recsim-ng          some of them
#
# Needs Python 3.8 for recsim, any of 3.8 to 3.10 for recsim-ng, 3.11 for scope-rl and 3.11 or 3.12
# for sentence-transformers, 3.9 to 3.11 for obp; they are looked for on PATH and among pyenv's
# versions. A peer that cannot be made says why, the script
# goes on with the next and ends with exit code 1; `python -m benchmarks` then says so in its row.
set -uo pipefail
cd "$(dirname "$0")/.."
home=.venv-peers

# Print the path of an interpreter of one of the given versions.
find_python() {
    local version candidate
    for version in "$@"; do
        for candidate in \
            "$(command -v "python$version" || true)" \
            "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
            # A pyenv shim may be on PATH without a version behind it, so try it.
            if [ -x "$candidate" ] && "$candidate" -c 'import venv' 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    done
    echo "no Python of version $* was found on PATH or among pyenv's versions" >&2
    return 1
}

# make_env NAME "VERSIONS" "PIP ARGUMENTS" ["PIP ARGUMENTS" ...]: the environment, installed step by
# step. A reason that stops it is kept in NAME.failed for the benchmark to show.
make_env() {
    local name=$1 versions=$2 python arguments
    shift 2
    mkdir -p "$home"
    if [ -e "$home/$name/ready" ]; then
        echo "$name: ready"
        return
    fi
    rm -rf "${home:?}/$name" "$home/$name.failed"
    # shellcheck disable=SC2086
    python=$(find_python $versions 2>"$home/$name.failed") || { fail "$name"; return 1; }
    "$python" -m venv "$home/$name" || { echo "venv failed" >"$home/$name.failed"; fail "$name"; return 1; }
    for arguments in "$@"; do
        # shellcheck disable=SC2086
        if ! "$home/$name/bin/python" -m pip install --quiet --disable-pip-version-check \
            --progress-bar off $arguments 2>"$home/$name.log"; then
            grep ERROR "$home/$name.log" | tail -n 1 >"$home/$name.failed"
            fail "$name"
            return 1
        fi
    done
    rm -f "$home/$name.failed" "$home/$name.log"
    touch "$home/$name/ready"
    echo "$name: made"
}

fail() {
    echo "$1: $(cat "$home/$1.failed")" >&2
}

# gym 0.17 declares what setuptools 66 and later refuse; RecSim imports dopamine only for its
# checkpointer, so dopamine's own requirements (jax, flax, opencv, atari) are left out.
recsim() {
    make_env recsim "3.8" \
        "setuptools==59.8.0 wheel==0.37.1" \
        "numpy==1.21.6 scipy==1.7.3 six==1.16.0 absl-py==1.2.0 gin-config==0.5.0 protobuf==3.19.6 tensorflow-cpu==2.10.1" \
        "--no-build-isolation gym==0.17.3" \
        "--no-deps --no-build-isolation dopamine-rl==3.2.1 recsim==0.2.4"
}

# RecSim NG declares jax, which only its JAX runtime imports.
recsim-ng() {
    make_env recsim-ng "3.10 3.9 3.8" \
        "setuptools==59.8.0 wheel==0.37.1" \
        "numpy==1.23.5 scipy==1.9.3 protobuf==3.19.6 absl-py==1.3.0 gin-config==0.5.0 matplotlib==3.6.3 tensorflow-cpu==2.10.1 tensorflow-probability==0.18.0 edward2==0.0.2" \
        "--no-build-isolation gym==0.17.3" \
        "--no-deps recsim-ng==0.1.2"
}

# RECEnv imports only gym, NumPy and scikit-learn; torch, d3rlpy and pandas are for SCOPE-RL's
# estimators and are left out.
scope-rl() {
    make_env scope-rl "3.11 3.10 3.9" \
        "setuptools==65.5.1 wheel==0.38.4" \
        "numpy==1.26.4 scipy==1.11.4 scikit-learn==1.3.2" \
        "--no-build-isolation gym==0.26.2" \
        "--no-deps scope-rl==0.2.1"
}

# The versions of torch and transformers are copygym's own, so that only the encoding differs.
sentence-transformers() {
    make_env sentence-transformers "3.11 3.12" \
        "-c constraints.txt sentence-transformers torch transformers"
}

# Its estimators name torch in annotations only, so benchmarks/peers/ope_obp.py puts an empty module
# in its place.
obp() {
    make_env obp "3.11 3.10 3.9" \
        "numpy==1.26.4 scipy==1.11.4 scikit-learn==1.3.2 pandas==2.1.4 matplotlib==3.8.4 seaborn==0.13.2 pyyaml==6.0.2 tqdm mypy-extensions" \
        "--no-deps obp==0.4.1"
}

status=0
for peer in "${@:-recsim recsim-ng scope-rl sentence-transformers obp}"; do
    for name in $peer; do
        case $name in
            recsim | recsim-ng | scope-rl | sentence-transformers | obp) "$name" || status=1 ;;
            *)
                echo "no peer $name: recsim, recsim-ng, scope-rl, sentence-transformers and obp are known" >&2
                status=2
                ;;
        esac
    done
done
exit $status
