#!/bin/sh
# Inside a build: install the library with an image's extras out of the wheels that lie in /context, ask every
# component of the image for its contract, and write the bill of materials. EXTRAS, ALONE and CLAIMED_MED_IMAGE are set.
set -eu
home=/opt/claimed-med
python=/opt/venv/bin/python
[ -x "$python" ] || python3 -m venv --without-pip /opt/venv

pip() {
    "$python" "$(ls /context/wheels/pip-*.whl)/pip" --isolated --no-cache-dir --disable-pip-version-check "$@"
}
install() {
    pip install --quiet --no-index --find-links /context/wheels --no-compile --root-user-action ignore \
        --constraint /context/constraints.txt "$@"
}

touch /tmp/before
install "claimed_med[$EXTRAS]"
[ -z "$ALONE" ] || install --no-deps "$ALONE"
# valid whatever the times of the files are, since layers get one time for all; only what is new, for a small layer
find /opt/venv/lib -name '*.py' -cnewer /tmp/before >/tmp/new
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -i /tmp/new >/dev/null || true
mkdir -p "$home"
claimed-med list --json >"$home/contracts.json"
"$python" /context/sbom.py /context/wheels >"$home/sbom.cdx.json.part"
mv "$home/sbom.cdx.json.part" "$home/sbom.cdx.json"
rm -rf /tmp/* /var/tmp/* /root/.cache
