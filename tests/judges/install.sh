#!/usr/bin/env bash
# Install the programs that judge the results in the tests (Debian 12, as root).
# Where they cannot be had this says so and succeeds: the tests that need them are skipped.
set -uo pipefail
judges=(python3-qgis python3-gdal postgresql-15-postgis-3 chromium)
dpkg -s "${judges[@]}" >/dev/null 2>&1 && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "judges: ${judges[*]} are not installed, and only root on Debian can install them here; their tests are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
echo "judges: installing ${judges[*]} (about 350 MB, some minutes)"
{ apt-get update -qq && timeout 600 apt-get install -qq --no-install-recommends "${judges[@]}"; } >/dev/null 2>&1 ||
  echo "judges: apt-get could not install ${judges[*]}; their tests are skipped"
