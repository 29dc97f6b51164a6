#!/usr/bin/env bash
# A job of gabion's kit: `gabion.sh plan`, `find`, `apply` or `drift`. It runs the same on a laptop; the commands of
# `gabion ci` do the work, and docs/ci.md says what they do.
#
# GABION_DIRECTORY      the project, from the top of the checkout        GABION_STACK    the stack, if there are several
# GABION_PLAN_DIR       where the plan's files are                       GABION_COMMIT   the commit that was proposed
# GABION_WORKFLOW       the file name of the workflow that plans         GABION_RUN      the run that planned that commit
# GABION_LOCK_TIMEOUT   how long to wait for somebody else's apply       GABION_NUMBER   the pull request
set -euo pipefail

options=(-C "${GABION_DIRECTORY:-.}")
if [ -n "${GABION_STACK:-}" ]; then options+=(--stack "$GABION_STACK"); fi
dir="${GABION_PLAN_DIR:-gabion-plan}"
number=()
if [ -n "${GABION_NUMBER:-}" ]; then number=(--number "$GABION_NUMBER"); fi

case "${1:-}" in
plan)
    exec gabion "${options[@]}" ci plan --dir "$dir" "${number[@]}"
    ;;
find)
    run="$(gabion ci run --commit "$GABION_COMMIT" --workflow "$GABION_WORKFLOW")"
    echo "run=$run" >>"${GITHUB_OUTPUT:-/dev/stdout}"
    ;;
apply)
    exec gabion "${options[@]}" ci apply --dir "$dir" --commit "$GABION_COMMIT" --run "$GABION_RUN" \
        --lock-timeout "${GABION_LOCK_TIMEOUT:-10m}" "${number[@]}"
    ;;
drift)
    exec gabion "${options[@]}" ci drift --junit gabion-drift.xml
    ;;
*)
    echo "usage: gabion.sh plan|find|apply|drift" >&2
    exit 1
    ;;
esac
