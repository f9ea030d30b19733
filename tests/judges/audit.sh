#!/usr/bin/env bash
# audit.sh PIP_AUDIT LOCK [OPTION...]: known vulnerabilities in the locked packages, by pip-audit.
# Where no index answers in time this says so and succeeds: `make check` has to work offline.
set -uo pipefail
pip_audit=$1 lock=$2
shift 2
# strict: the first package that the index cannot tell of ends it, so that a mirror without
# advisories costs one question
said=$(timeout 60 "$pip_audit" --strict --require-hashes --disable-pip --requirement "$lock" \
  --progress-spinner off --timeout 5 "$@" 2>&1)
case $said in
  *"No known vulnerabilities found"*) echo "audit: no known vulnerabilities" ;;
  *"Found "*" known vulnerabilit"*) echo "$said"; exit 1 ;;
  *) echo "audit: skipped, no index tells of vulnerabilities here (${said##*$'\n'})" ;;
esac
