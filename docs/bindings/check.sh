#!/bin/sh
# Checks the bindings with the public tools, or a tree against the bindings:
#
#   check.sh                          the schemas, their examples, examples/, refused/, and the platforms' overlays
#   check.sh TREE.dtb [OVERLAY.dtbo]… a platform's tree, overlays applied to it first
#
# Needs dt-doc-validate, dt-extract-example and dt-validate (Python package dtschema), and dtc and fdtoverlay
# (Debian package device-tree-compiler). Exit status: 0 if all is as it should be, 1 if not, 2 if it cannot run.
set -eu

# Paths of the caller's must survive the change of folder.
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

for tool in dt-doc-validate dt-extract-example dt-validate dtc fdtoverlay; do
    if ! command -v "$tool" >/dev/null; then
        echo "check.sh: $tool is not there; install dtschema (pip) and device-tree-compiler" >&2
        exit 2
    fi
done

# Prints one result. $1: what; $2: a file with messages, empty if all is well.
report() {
    if [ -s "$2" ]; then
        failed=1
        echo "FAILED $1"
        cat "$2"
    else
        echo "ok     $1"
    fi
}

# The tools' exit status says nothing about most findings: whatever they print is one.
# $1: a tree; the rest: options. Messages go to $work/out.
validate() {
    tree=$1
    shift
    dt-validate "$@" -s "$here" "$tree" >"$work/out" 2>&1 || echo "dt-validate failed" >>"$work/out"
}

# $1: source; $2: output. Messages go to $work/out.
compile() {
    # A fragment for the root states cells for the node in it, which dtc takes for superfluous, and one that adds to a
    # node says its `reg` no second time.
    dtc -@ -Wno-avoid_unnecessary_addr_size -Wno-unit_address_vs_reg -I dts -O dtb -o "$2" "$1" >"$work/out" 2>&1 || echo "dtc failed" >>"$work/out"
}

if [ $# -gt 0 ]; then
    tree=$1
    name="$*"
    shift
    # dt-validate passes over a file that is not there.
    dtc -q -I dtb -O dtb -o /dev/null "$tree" || exit 2
    if [ $# -gt 0 ]; then
        # dt-validate looks into no fragment of an overlay: it has to be applied.
        fdtoverlay -i "$tree" -o "$work/whole.dtb" "$@" || exit 2
        tree=$work/whole.dtb
    fi
    # Only our schemas: a firmware's tree may have faults of its own.
    validate "$tree" -l assay
    report "$name" "$work/out"
    exit "$failed"
fi

cd "$here"
for schema in *.yaml reserved-memory/*.yaml; do
    dt-doc-validate "$schema" >"$work/out" 2>&1 || echo "dt-doc-validate failed" >>"$work/out"
    report "$schema" "$work/out"
    dt-extract-example "$schema" >"$work/example.dts"
    dtc -q -O dtb -o "$work/example.dtb" "$work/example.dts"
    validate "$work/example.dtb"
    report "$schema: its examples" "$work/out"
done

compile examples/board.dts "$work/board.dtb"
report examples/board.dts "$work/out"
for overlay in examples/*.dtso ../../platforms/*/*.dtso; do
    [ -e "$overlay" ] || continue
    # A platform whose tree is here has overlays for that tree.
    board=$work/board.dtb
    schemas=
    for own in "$(dirname "$overlay")"/"$(basename "$(dirname "$overlay")")".dts; do
        [ -e "$own" ] || continue
        board=$work/own.dtb
        # Ours alone: that of a whole machine needs all other bindings.
        schemas="-l assay"
        compile "$own" "$board"
        report "$own" "$work/out"
    done
    compile "$overlay" "$work/overlay.dtbo"
    if [ ! -s "$work/out" ] &&
        fdtoverlay -i "$board" -o "$work/whole.dtb" "$work/overlay.dtbo" >"$work/out" 2>&1; then
        # shellcheck disable=SC2086 # no word, or two
        validate "$work/whole.dtb" $schemas
    fi
    report "$overlay" "$work/out"
done

# Each of these has one fault, and its first line says which message that must give.
for source in refused/*.dts; do
    wanted=$(sed -n '1s,^// refused: ,,p' "$source")
    dtc -q -O dtb -o "$work/refused.dtb" "$source"
    validate "$work/refused.dtb"
    if [ -n "$wanted" ] && grep -qF -- "$wanted" "$work/out"; then
        echo "ok     $source"
    else
        failed=1
        echo "FAILED $source: not refused with: $wanted"
        cat "$work/out"
    fi
done
exit "$failed"
