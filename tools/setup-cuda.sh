#!/bin/sh
# Fetches what the CUDA backend needs beyond nvcc: cuBLAS, as the Python wheel `nvidia-cublas`, into
# .deps/cublas, where cmake/Cuda.cmake finds it. `./dev setup --cuda` calls this. Does nothing, and
# needs no network, when the toolkit holds cuBLAS or the wheel is already there.
set -eu
cd "$(dirname "$0")/.."

nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || nvcc=/usr/local/cuda/bin/nvcc
if [ ! -x "$nvcc" ]; then
    echo "setup --cuda: no nvcc on PATH or in /usr/local/cuda/bin; install the CUDA toolkit (12.0 or newer) first" >&2
    exit 1
fi
version=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
# nvcc itself says where its toolkit lies; the one on PATH may be a wrapper.
toolkit=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')

if [ -n "$(find -L "$toolkit" -maxdepth 4 -name cublasLt.h -print -quit 2>/dev/null)" ]; then
    echo "setup --cuda: the toolkit at $toolkit holds cuBLAS; nothing to do"
    exit 0
fi
if [ -n "$(find .deps/cublas -name "libcublasLt.so.$version" -print -quit 2>/dev/null)" ]; then
    echo "setup --cuda: cuBLAS $version is already in .deps/cublas; nothing to do"
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "setup --cuda: python3 has no pip; install python3-pip and run this again" >&2
    exit 1
fi
case $version in
    12) package=nvidia-cublas-cu12 ;;
    *) package=nvidia-cublas ;;
esac
echo "setup --cuda: the toolkit at $toolkit lacks cuBLAS; fetching $package $version.x into .deps/cublas (about 450 MB)"
mkdir -p .deps
rm -rf .deps/cublas.part
# Into a name of its own first: an interrupted download must not look like a finished one.
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir \
    --no-deps --only-binary=:all: --target .deps/cublas.part "$package>=$version,<$((version + 1))"
rm -rf .deps/cublas
mv .deps/cublas.part .deps/cublas
echo "setup --cuda: done"
