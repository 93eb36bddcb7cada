#!/usr/bin/env bash
# A job that knows nothing of lineage, but for the two lines that say what it read and wrote. FEES is a file of lines
# "country;fee"; the sum of each country is written to TOTALS.
set -euo pipefail
fees=${FEES:-/data/fees.csv}
totals=${TOTALS:-/tmp/totals.csv}

tell() { # without openlineage-pod around it, the job runs all the same
  [ -z "${OPENLINEAGE_POD_REPORT:-}" ] || printf '%s\n' "$1" >>"$OPENLINEAGE_POD_REPORT"
}

tell "{\"input\": \"$fees\"}"
declare -A sums=()
while IFS=';' read -r country fee; do
  sums[$country]=$((${sums[$country]:-0} + fee))
done <"$fees"
for country in "${!sums[@]}"; do
  printf '%s;%s\n' "$country" "${sums[$country]}"
done >"$totals"
tell "{\"output\": \"$totals\", \"rows\": ${#sums[@]}, \"schema\": {\"country\": \"text\", \"fee\": \"integer\"}}"
printf '%s countries\n' "${#sums[@]}"
